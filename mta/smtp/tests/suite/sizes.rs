//! Sessions are held by the ten thousand: what one costs is a promise.

use std::mem::size_of;

#[test]
fn sessions_are_small() {
    let (server, client) = (size_of::<smtp::server::Session>(), size_of::<smtp::client::Session>());
    println!("server::Session {server} bytes, client::Session {client} bytes");
    assert!(server <= 64, "server::Session has {server} bytes");
    assert!(client <= 448, "client::Session has {client} bytes");
}

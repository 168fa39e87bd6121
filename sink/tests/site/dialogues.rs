//! Every dialogue file against a sink of its own, many at a time: they do little but wait.

use crate::player::{self, Tls};
use crate::rig::{Account, Rig};
use crate::script::{Script, octets};
use behaviour::{SiteFile, Sites};
use ring::digest::{SHA256, digest};
use sink::{Config, Keep, Live, Show};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

#[test]
fn all() {
    let files = Mutex::new(VecDeque::from(files()));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = files.lock().unwrap().pop_front();
                    let Some(file) = next else { return };
                    if let Err(error) = play(&file) {
                        failures.lock().unwrap().push(format!("{}: {error}", file.display()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// All of them, in the order of their names.
pub fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "dialogue")).collect();
    files.sort();
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues")
}

fn play(file: &Path) -> Result<(), String> {
    let script = Script::read(file)?;
    let kept = tempfile::tempdir().unwrap();
    let own = own_certificate();
    let read = |name: &str| match name {
        "own.pem" => Ok(own.0.clone()),
        "long-chain.pem" => Ok(own.0.repeat((1 << 20) / own.0.len() * 2)),
        "own.key" => Ok(own.1.clone()),
        _ => fs::read_to_string(folder().join(name)).map_err(|error| format!("{name}: {error}")),
    };
    let site = SiteFile::parse(&script.site, "site", &read).map_err(|error| error.to_string())?;
    let mut listen: Vec<SocketAddr> = site.sites.iter().flat_map(|site| site.listen.clone()).collect();
    listen.dedup();
    if listen.is_empty() {
        listen.push("127.0.0.1:0".parse().unwrap());
    }
    let sites = Sites::new(site.seed.unwrap_or(0), site.sites)?;
    let keep = match script.keep.as_deref() {
        None => Keep::Discard,
        Some("hash") => Keep::Hash,
        Some("files") => Keep::Files(kept.path().to_owned()),
        Some("maildir") => Keep::Maildir(kept.path().to_owned()),
        Some(other) => return Err(format!("nothing can be kept as {other}")),
    };
    let (sender, states) = mpsc::channel();
    let show: Show = Box::new(move |live| sender.send(live.clone()).map_err(io::Error::other));
    let rig = Rig::start_with(Config { keep, ..Config::new(listen, sites) }, io::sink(), Some(show));
    let tls = fs::read_to_string(rig.folder.path().join("authority.pem")).ok();
    let tls = tls.map(|authority| Tls::trusting(&[authority, own.0.clone()]));
    for connection in &script.connections {
        let address = match connection.to {
            None => Some(&rig.address),
            Some(to) => rig.addresses.iter().find(|address| address.ip() == to),
        };
        let address = address.ok_or("nobody listens where a connection goes to")?;
        (0..connection.times).try_for_each(|_| player::play(connection, *address, tls.as_ref()))?;
    }
    let connections = script.connections.iter().map(|connection| u64::from(connection.times)).sum();
    wait_for_all_to_go(&states, connections)?;
    let account = rig.stop();
    script.ledger.iter().try_for_each(|(line, words)| {
        check(words, &account, kept.path()).map_err(|error| format!("line {line}: {error}"))
    })
}

/// A site may hold a connection as long as its client does, and no longer.
fn wait_for_all_to_go(states: &Receiver<Live>, connections: u64) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let state = states.recv_timeout(end.saturating_duration_since(Instant::now()));
        match state {
            Ok(live) if live.connections == connections && live.connections_open == 0 => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err("a connection is held after its client has gone".to_owned()),
        }
    }
}

/// One line of the part `ledger`.
fn check(words: &str, account: &Account, kept: &Path) -> Result<(), String> {
    let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
    let (second, third) = rest.split_once(' ').unwrap_or((rest, ""));
    if first == "row" {
        let row =
            second.parse().ok().and_then(|number: usize| account.deliveries.get(number.wrapping_sub(1)));
        let row = row.ok_or_else(|| format!("there are {} rows", account.deliveries.len()))?;
        let (column, wanted) = third.split_once(' ').unwrap_or((third, ""));
        let place = account.columns.iter().position(|name| name == column);
        let cell = place.map(|place| &row[place]).ok_or_else(|| format!("no column {column}"))?;
        return fits(cell == wanted, words, cell);
    }
    if first == "kept" {
        let wanted = if third == "nothing" { None } else { Some(octets(third)?) };
        return match kept_as_hash(second, account) {
            Some(hash) => {
                let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let wanted = wanted.map_or(String::new(), |bytes| hex(digest(&SHA256, &bytes).as_ref()));
                fits(hash == wanted, words, &hash)
            }
            None => {
                let found = kept_as_file(second, kept);
                fits(
                    found == wanted,
                    words,
                    &format!("{:?}", found.map(|bytes| bytes.escape_ascii().to_string())),
                )
            }
        };
    }
    let outcomes = account.ledger["outcomes"].as_array().unwrap();
    let (found, wanted) = match account.ledger.get(first) {
        Some(number) => (number.as_u64().ok_or_else(|| format!("{number} is no number"))?, second),
        None => {
            let mut alike = outcomes.iter().filter(|outcome| {
                outcome["stage"] == first
                    && (outcome["outcome"] == second
                        || second.parse::<u64>().is_ok_and(|code| outcome["code"] == code))
            });
            (alike.next().map_or(0, |outcome| outcome["count"].as_u64().unwrap()), third)
        }
    };
    let (least, most) = wanted.split_once("..").unwrap_or((wanted, wanted));
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    fits((number(least)?..=number(most)?).contains(&found), words, &found.to_string())
}

fn fits(fits: bool, wanted: &str, found: &str) -> Result<(), String> {
    if fits { Ok(()) } else { Err(format!("wanted {wanted}, found {found}")) }
}

/// The hash of message `CONNECTION-NUMBER`, if hashes are kept at all.
fn kept_as_hash(name: &str, account: &Account) -> Option<String> {
    let (connection, number) = name.split_once('-')?;
    let mut rows = account.deliveries.iter().filter(|row| row[1] == connection);
    account.deliveries.iter().find(|row| !row[row.len() - 1].is_empty())?;
    rows.nth(number.parse::<usize>().ok()? - 1)?.last().cloned()
}

/// What is in the file of that message.
fn kept_as_file(name: &str, kept: &Path) -> Option<Vec<u8>> {
    let plain = fs::read(kept.join(format!("{name}.eml"))).ok();
    plain.or_else(|| {
        let mut entries = fs::read_dir(kept.join("new")).ok()?.map(|entry| entry.unwrap());
        let prefix = format!("{name}.");
        let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))?;
        fs::read(found.path()).ok()
    })
}

/// A certificate that no sink made, and its key.
fn own_certificate() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["sink.test".to_owned()]).unwrap();
    (own.cert.pem(), own.signing_key.serialize_pem())
}

/// They wait more than they work.
const AT_ONCE: usize = 24;
/// A stalled connection is looked at five times a second.
const PATIENCE: Duration = Duration::from_secs(5);

//! Messages to send.

/// A message that the sink's ledger knows by `id`, with a body of at least `body_bytes`.
pub fn with_id(id: &str, body_bytes: usize) -> Vec<u8> {
    let mut content = format!("X-Mailrig-Id: {id}\r\nSubject: test\r\n\r\n").into_bytes();
    content.extend(lines(body_bytes));
    content
}

/// Text in lines of up to 76 bytes with CRLF, exactly so many bytes (one cannot be made; it becomes two).
pub fn lines(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes);
    while text.len() < bytes {
        let mut length = (bytes - text.len()).clamp(2, 78);
        // what would be left must be able to be a line of its own
        if bytes.saturating_sub(text.len() + length) == 1 {
            length -= 1;
        }
        let fill = b'a' + (text.len() % 26) as u8;
        text.resize(text.len() + length - 2, fill);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Takes the one field off the top that reception adds, and gives the rest.
#[track_caller]
pub fn without_received(content: &[u8]) -> &[u8] {
    assert!(
        content.starts_with(b"Received: from "),
        "{}",
        String::from_utf8_lossy(&content[..80.min(content.len())])
    );
    let mut rest = &content[1..];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the field ends") + 2;
        rest = &rest[end..];
        if !rest.starts_with(b"\t") {
            return rest;
        }
    }
}

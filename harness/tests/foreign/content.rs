//! The content that is sent, and what reception adds to it.

/// With dots where they matter, eight bits, and 1 MiB; each with an id of its own.
pub fn contents() -> [Vec<u8>; 3] {
    contents_up_to(1 << 20)
}

/// The same, but for the size of the last one.
pub fn contents_up_to(large_bytes: usize) -> [Vec<u8>; 3] {
    let dots = b"X-Mailrig-Id: content/1/0\r\n\r\nabove\r\n.\r\n..\r\n.x\r\n\r\nend\r\n".to_vec();
    let eight_bit = b"X-Mailrig-Id: content/2/0\r\n\r\n\xe4\xf6\xfc \x01\x7f\xff\r\n".to_vec();
    let mut large = b"X-Mailrig-Id: content/3/0\r\n\r\n".to_vec();
    while large.len() < large_bytes - 100 {
        large.extend_from_slice(b"..a line of the large message\r\n");
    }
    large.resize(large_bytes - 2, b'x');
    large.extend_from_slice(b"\r\n");
    [dots, eight_bit, large]
}

/// What is left without the one field that reception adds.
pub fn without_received(content: &[u8]) -> Vec<u8> {
    assert!(content.starts_with(b"Received: from "), "{}", String::from_utf8_lossy(content));
    let mut lines = content.split_inclusive(|byte| *byte == b'\n').skip(1).peekable();
    while lines.next_if(|line| line.starts_with(b"\t")).is_some() {}
    lines.flatten().copied().collect()
}

/// For clients that end their content with a line end of their own, whether it has one or not: with this they send
/// just `content`.
pub fn without_last_line_end(content: &[u8]) -> &[u8] {
    content.strip_suffix(b"\r\n").expect("content is made of whole lines")
}

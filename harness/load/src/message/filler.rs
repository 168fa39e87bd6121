//! Text of any size that says nothing: one block of lines that all messages share, and an end of any length.

/// Of what characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Text {
    #[default]
    Ascii,
    /// Bytes over 127 in the body: ISO 8859-1, which needs 8BITMIME (RFC 6152).
    EightBit,
    /// The same, and UTF-8 in the header section, which needs SMTPUTF8 (RFC 6531).
    Utf8,
}

/// The text that a run's messages share.
pub struct Filler {
    text: Text,
    /// Whole lines of [`LINE`] bytes.
    block: Vec<u8>,
    /// Ends by their length, which no number of whole lines makes.
    ends: Vec<Vec<u8>>,
}

impl Filler {
    pub fn new(text: Text) -> Filler {
        let words = match text {
            Text::Ascii => ASCII,
            Text::EightBit | Text::Utf8 => LATIN,
        };
        // Long enough for a line that begins anywhere in it.
        let words = words.repeat(2 + LINE / words.len());
        let line = |start: usize, bytes: usize| -> Vec<u8> {
            let start = start % (words.len() - LINE);
            [&words[start..start + bytes - LINE_END.len()], LINE_END].concat()
        };
        let end = |bytes: usize| match bytes {
            // Too short for a line end, or too long for a line.
            0 | 1 => Vec::new(),
            _ if bytes > LINE => [line(0, bytes / 2), line(7, bytes - bytes / 2)].concat(),
            _ => line(0, bytes),
        };
        Filler {
            text,
            block: (0..BLOCK_LINES).flat_map(|number| line(number * 31, LINE)).collect(),
            ends: (0..=LINE + 1).map(end).collect(),
        }
    }

    /// What stands between the header fields that all messages have and the body.
    pub fn before(&self) -> &'static [u8] {
        match self.text {
            Text::Ascii => b"\r\n",
            Text::EightBit | Text::Utf8 => {
                b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
                  Content-Transfer-Encoding: 8bit\r\n\r\n"
            }
        }
    }

    pub fn is_eight_bit(&self) -> bool {
        self.text != Text::Ascii
    }

    pub fn is_utf8(&self) -> bool {
        self.text == Text::Utf8
    }

    /// Of a text of `bytes` the part from `sent` on, `most` bytes or fewer; empty at its end.
    pub fn piece(&self, bytes: u64, sent: u64, most: usize) -> &[u8] {
        let (whole, end) = parts(bytes);
        if sent >= whole {
            let end = &self.ends[end];
            let rest = &end[((sent - whole) as usize).min(end.len())..];
            return &rest[..rest.len().min(most)];
        }
        let start = (sent % self.block.len() as u64) as usize;
        let left = usize::try_from(whole - sent).unwrap_or(usize::MAX);
        &self.block[start..self.block.len().min(start.saturating_add(left)).min(start.saturating_add(most))]
    }
}

/// How many bytes are whole lines, and how long the end is.
fn parts(bytes: u64) -> (u64, usize) {
    let line = LINE as u64;
    match bytes % line {
        // A line of one byte could not end in CR LF.
        1 if bytes > line => (bytes - 1 - line, LINE + 1),
        end => (bytes - end, end as usize),
    }
}

/// The shortest text: a line end.
pub const BYTES_MIN: u64 = LINE_END.len() as u64;

const LINE_END: &[u8] = b"\r\n";
/// RFC 5322 §2.1.1: 78 characters, and CR LF.
const LINE: usize = 78 + LINE_END.len();
const BLOCK_LINES: usize = 819;
const ASCII: &[u8] = b"Bytes that weigh what real mail weighs and say nothing at all, sent for timing only; ";
const LATIN: &[u8] =
    b"Bytes \xfcber 127, wie \xe4, \xf6, \xfc und \xdf, die nichts sagen, nur der Zeit wegen gesandt; ";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(filler: &Filler, bytes: u64, most: usize) -> Vec<u8> {
        let mut text = Vec::new();
        loop {
            let piece = filler.piece(bytes, text.len() as u64, most);
            if piece.is_empty() {
                return text;
            }
            assert!(piece.len() <= most);
            text.extend_from_slice(piece);
        }
    }

    #[test]
    fn every_size_is_met_in_whole_lines() {
        for kind in [Text::Ascii, Text::EightBit] {
            let filler = Filler::new(kind);
            for bytes in (BYTES_MIN..500).chain(65_500..65_700).chain([1 << 20, (1 << 20) + 1]) {
                let text = text(&filler, bytes, 64 * 1024);
                assert_eq!(text.len() as u64, bytes);
                assert_eq!(text, self::text(&filler, bytes, 777), "however it is cut");
                let lines = text.strip_suffix(b"\r\n").expect("ends a line");
                for line in lines.split(|&byte| byte == b'\n') {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    assert!(line.len() <= 78 && !line.contains(&b'\r') && !line.starts_with(b"."));
                }
                assert!(kind == Text::EightBit || text.is_ascii());
            }
        }
    }
}

//! Contents made or read before the run, so that sending costs no more than filler does.

use distribution::Distribution;
use fastrand::Rng;
use mail_builder::MessageBuilder;
use std::path::{Path, PathBuf};

/// Contents that messages take in turn.
pub struct Pool {
    contents: Vec<Content>,
    /// Whether they bring a header section of their own, or continue ours.
    has_header: bool,
}

/// One content.
pub struct Content {
    pub bytes: Vec<u8>,
    /// Bytes over 127.
    pub eight_bit: bool,
    /// In the header section, too.
    pub utf8_header: bool,
}

impl Pool {
    /// Multipart messages of about these sizes: text, HTML and an attachment.
    pub fn mime(size: &Distribution, seed: u64) -> Pool {
        let mut chance = Rng::with_seed(seed);
        let contents = (0..MIME_CONTENTS).map(|_| {
            let wanted = size.draw(&mut chance).min(MIME_BYTES_MAX);
            // Base64 makes 78 bytes of 57; the rest is left for texts and boundaries.
            let attachment = ((wanted - MIME_FRAME).max(0.0) * 57.0 / 78.0) as usize;
            let bytes: Vec<u8> = std::iter::repeat_with(|| chance.u8(..)).take(attachment).collect();
            let mut content = MessageBuilder::new()
                .text_body("A message of several parts that says nothing, sent for timing only.\r\n")
                .html_body(
                    "<p>A message of <em>several parts</em> that says nothing, sent for timing only.</p>\r\n",
                );
            if attachment > 0 {
                content = content.attachment("application/octet-stream", "weight.bin", bytes);
            }
            let mut bytes = Vec::new();
            content.write_body(&mut bytes).expect("a Vec accepts every write");
            Content::new(bytes)
        });
        Pool { contents: contents.collect(), has_header: false }
    }

    /// The messages of a file, of all files of a folder, or of an mbox (a file that begins with `From `).
    ///
    /// # Errors
    /// What can't be read, and bounds.
    pub fn read(path: &Path) -> Result<Pool, String> {
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
            files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
            files.sort_unstable();
        }
        let mut contents = Vec::new();
        let mut left = OWN_BYTES_MAX;
        for file in files {
            let bytes = read(&file, left)?;
            left -= bytes.len() as u64;
            match bytes.starts_with(b"From ") {
                true => contents.extend(mbox(&bytes).map(|message| Content::new(lines(&message)))),
                false => contents.push(Content::new(lines(&bytes))),
            }
        }
        contents.retain(|content| !content.bytes.is_empty());
        match contents.is_empty() {
            true => Err(format!("{}: no message in it", path.display())),
            false => Ok(Pool { contents, has_header: true }),
        }
    }

    pub fn len(&self) -> usize {
        self.contents.len()
    }

    pub fn has_header(&self) -> bool {
        self.has_header
    }

    pub fn get(&self, index: usize) -> &Content {
        &self.contents[index]
    }
}

impl Content {
    fn new(bytes: Vec<u8>) -> Content {
        let header = memchr::memmem::find(&bytes, b"\r\n\r\n").map_or(&bytes[..], |end| &bytes[..end]);
        Content { eight_bit: !bytes.is_ascii(), utf8_header: !header.is_ascii(), bytes }
    }
}

fn read(path: &PathBuf, most: u64) -> Result<Vec<u8>, String> {
    let problem = |problem: String| format!("{}: {problem}", path.display());
    let size = std::fs::metadata(path).map_err(|error| problem(error.to_string()))?.len();
    if size > most {
        return Err(problem(format!("more than {} in all", settings::size::format(OWN_BYTES_MAX))));
    }
    std::fs::read(path).map_err(|error| problem(error.to_string()))
}

/// The messages of an mbox (RFC 4155): each after a line that begins with `From `; those inside a message begin with `>`.
fn mbox(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut after_empty = true;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if after_empty && text.starts_with(b"From ") {
            messages.push(Vec::new());
        } else if let Some(message) = messages.last_mut() {
            let quoted = text.strip_prefix(b">").filter(|rest| {
                rest.iter().position(|&byte| byte != b'>').is_some_and(|at| rest[at..].starts_with(b"From "))
            });
            message.extend_from_slice(quoted.unwrap_or(text));
            message.extend_from_slice(b"\r\n");
        }
        after_empty = text.is_empty();
    }
    // The empty line before the next message is none of this one's.
    messages.into_iter().map(|message| match message.strip_suffix(b"\r\n\r\n") {
        Some(rest) if memchr::memmem::find(rest, b"\r\n\r\n").is_some() => [rest, b"\r\n"].concat(),
        _ => message,
    })
}

/// The same with CR LF at the end of each line, the last one included, and no CR or LF on its own.
fn lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        for part in text.split(|&byte| byte == b'\r') {
            lines.extend_from_slice(part);
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

const MIME_CONTENTS: usize = 16;
const MIME_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// Header section, texts and boundaries of a multipart message, about.
const MIME_FRAME: f64 = 1300.0;
const OWN_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pool: &Pool) -> Vec<&str> {
        pool.contents.iter().map(|content| std::str::from_utf8(&content.bytes).expect("UTF-8")).collect()
    }

    #[test]
    fn reads_a_file_a_folder_and_an_mbox() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let one = file("a", "Subject: one\n\nbody");
        assert_eq!(texts(&Pool::read(&one).expect("a file")), ["Subject: one\r\n\r\nbody\r\n"]);
        file(
            "b",
            "From x Mon Jan  1 00:00:00 2001\nSubject: two\n\nFrom here, not quoted after a full line\n>From quoted\n>>From twice\n\n\
             From y Mon Jan  1 00:00:00 2001\nSubject: dr\u{ef}\n\nend\n\n",
        );
        let pool = Pool::read(folder.path()).expect("a folder");
        let kept = texts(&pool);
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert_eq!(kept[1], "Subject: two\r\n\r\n");
        assert!(pool.contents[3].utf8_header && pool.contents[3].eight_bit && !pool.contents[1].eight_bit);
        for (name, text) in [("c", ""), ("d", "\n")] {
            let empty = tempfile::tempdir().expect("a folder");
            std::fs::write(empty.path().join(name), text).expect("a file");
            assert_eq!(Pool::read(empty.path()).is_err(), text.is_empty());
        }
        assert!(Pool::read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn multipart_messages_are_of_about_the_size_asked_for() {
        for size in [2_000.0, 50_000.0, 200_000.0] {
            let pool = Pool::mime(&Distribution::Fixed(size), 1);
            for content in &pool.contents {
                let bytes = content.bytes.len() as f64;
                assert!((bytes / size - 1.0).abs() < 0.3, "{bytes} for {size}");
                assert!(
                    content.bytes.starts_with(b"MIME-Version: 1.0\r\n")
                        || content.bytes.starts_with(b"Content-Type: "),
                    "{}",
                    String::from_utf8_lossy(&content.bytes[..100])
                );
                assert!(content.bytes.ends_with(b"\r\n") && !content.eight_bit);
            }
        }
    }
}

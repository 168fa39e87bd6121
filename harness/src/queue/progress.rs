//! How far an import has come, in a file beside the export, so that one that was stopped goes on where it was.
//!
//! ```text
//! mailrig import 1 SPOOL
//! begun N CHECKSUM ID     message N of the export, whose line has this CRC-32, is about to be taken in under this id
//! taken N                 it is on the other spool's disk
//! done                    all are
//! ```
//!
//! Each line is on stable storage before the import goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "mailrig import 1";

/// What is known of a message of the export.
#[derive(PartialEq, Eq, Debug)]
pub enum Known {
    Nothing,
    /// It may have been taken in under this id.
    Begun(String),
    /// The last that was taken in: it may still be held.
    LastTaken(String),
    Taken,
}

pub struct Progress {
    file: File,
    path: PathBuf,
    /// Checksums of the messages, from the first on.
    begun: Vec<u32>,
    /// Of the last of them.
    id: String,
    taken: usize,
    pub is_done: bool,
}

impl Progress {
    /// Reads what there is beside the export, or begins it. Only one import at a time has it.
    pub fn open(export: &Path, spool: &Path) -> Result<Progress, String> {
        let mut path = export.as_os_str().to_owned();
        path.push(".imported");
        let path = PathBuf::from(path);
        let failed = |error: io::Error| {
            format!("{}: {error}; an import writes down there what it has taken in", path.display())
        };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{}: another import has this file; let it end first", path.display()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        // a line that was not written to its end says nothing
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let mut progress =
            Progress { file, path, begun: Vec::new(), id: String::new(), taken: 0, is_done: false };
        let head = format!("{MARK} {}", spool.display());
        let mut lines = text[..whole].lines();
        match lines.next() {
            None => {
                progress.add(&head)?;
                let folder = export.parent().filter(|folder| *folder != Path::new(""));
                let folder =
                    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
                folder.map_err(|error| progress.failed(&error))?;
            }
            Some(found) if found == head => {}
            Some(found) => {
                return Err(format!(
                    "{} is of another import (`{found}`); remove it to import into {}",
                    progress.path.display(),
                    spool.display()
                ));
            }
        }
        for line in lines {
            let understood = progress.take_line(line);
            understood.ok_or_else(|| format!("{}: `{line}` is not understood", progress.path.display()))?;
        }
        Ok(progress)
    }

    fn take_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "begun" => {
                let number: usize = words.next()?.parse().ok()?;
                let checksum = u32::from_str_radix(words.next()?, 16).ok()?;
                // begun once more, where the first time came to nothing
                self.begun.truncate(number.checked_sub(1)?);
                self.begun.push(checksum);
                words.next()?.clone_into(&mut self.id);
                (self.begun.len() == number).then_some(())
            }
            "taken" => {
                self.taken = words.next()?.parse().ok()?;
                (self.taken == self.begun.len()).then_some(())
            }
            "done" => {
                self.is_done = true;
                Some(())
            }
            _ => None,
        }
    }

    /// Of the message `number`, from 1 on, with this line.
    pub fn known(&self, number: usize, line: &str) -> Result<Known, String> {
        let Some(checksum) = self.begun.get(number - 1) else { return Ok(Known::Nothing) };
        if crc32fast::hash(line.as_bytes()) != *checksum {
            return Err(format!(
                "{} is of another export; remove it to import this one",
                self.path.display()
            ));
        }
        Ok(match () {
            () if number > self.taken => Known::Begun(self.id.clone()),
            () if number == self.taken && number == self.begun.len() && !self.is_done => {
                Known::LastTaken(self.id.clone())
            }
            () => Known::Taken,
        })
    }

    pub fn begin(&mut self, number: usize, line: &str, id: &str) -> Result<(), String> {
        let checksum = crc32fast::hash(line.as_bytes());
        self.add(&format!("begun {number} {checksum:08x} {id}"))
    }

    pub fn take(&mut self, number: usize) -> Result<(), String> {
        self.add(&format!("taken {number}"))
    }

    pub fn finish(&mut self) -> Result<(), String> {
        if self.is_done { Ok(()) } else { self.add("done") }
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.and_then(|()| self.file.sync_data()).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut anywhere, it says no more than what was written before, and the import goes on from there.
    #[test]
    fn a_line_counts_when_it_is_whole_and_the_rest_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (export, file) = (folder.path().join("mail"), folder.path().join("mail.imported"));
        let spool = Path::new("/there");
        let mut progress = Progress::open(&export, spool).unwrap();
        assert!(Progress::open(&export, spool).is_err_and(|error| error.contains("another import has")));
        for number in 1..=3 {
            progress.begin(number, &format!("line {number}"), &format!("id{number}")).unwrap();
            progress.take(number).unwrap();
        }
        progress.finish().unwrap();
        drop(progress);
        let whole = std::fs::read_to_string(&file).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let progress = Progress::open(&export, spool).unwrap();
            let said = &whole[..whole[..length].rfind('\n').map_or(0, |end| end + 1)];
            for number in 1..=3 {
                let is = |what: &str| said.contains(&format!("{what} {number}"));
                let is_last = !said.contains(&format!("begun {}", number + 1)) && !said.contains("done");
                let id = || format!("id{number}");
                let expected = match (is("begun"), is("taken")) {
                    (false, _) => Known::Nothing,
                    (true, false) => Known::Begun(id()),
                    (true, true) if is_last => Known::LastTaken(id()),
                    (true, true) => Known::Taken,
                };
                assert_eq!(progress.known(number, &format!("line {number}")).unwrap(), expected, "{said}");
            }
            assert!(progress.known(1, "another").is_err() || !said.contains("begun"));
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(Progress::open(&export, Path::new("/else")).is_err_and(|error| error.contains("remove it")));
        std::fs::write(&file, format!("{MARK} /there\nbegun 2 0 id\n")).unwrap();
        assert!(Progress::open(&export, spool).is_err_and(|error| error.contains("not understood")));
    }
}

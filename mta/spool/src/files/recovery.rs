//! Reads the whole queue at start and leaves it clean: no half-written file, no damaged one.

use super::draft::SUFFIX;
use super::{FOLDERS, Folder, ReadError, Shared, check_content, read_message, read_up_to};
use crate::{Damage, INLINE_CONTENT_BYTES, Quarantined, Recovery, SpoolError, Stored};
use delivery::QueueId;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::OsStr;

/// One read takes a small message as a whole, with its envelope.
const READ_BYTES: usize = INLINE_CONTENT_BYTES + 16 * 1024;

pub(super) fn run(spool: &Shared, each: &mut dyn FnMut(QueueId, Stored)) -> Result<Recovery, SpoolError> {
    let mut recovery = Recovery::default();
    let mut buffer = Vec::with_capacity(READ_BYTES);
    for (number, folder) in (0..FOLDERS).zip(&spool.queue) {
        for name in folder.names()? {
            if name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
                match folder.remove(&name) {
                    Ok(()) => recovery.half_written += 1,
                    Err(Errno::ISDIR | Errno::PERM) => {
                        let moved_to = spool.put_aside(folder, &name)?;
                        recovery.quarantined.push(Quarantined { moved_to, damage: Damage::NotAFile });
                    }
                    Err(error) => return Err(SpoolError::io("remove", &folder.path_of(&name), error)),
                }
                continue;
            }
            match read(folder, number, &name, &mut buffer) {
                Ok((id, stored, schedule_good)) => {
                    if stored.status.is_final() {
                        let removed = folder.remove(&name);
                        removed.map_err(|error| SpoolError::io("remove", &folder.path_of(&name), error))?;
                        recovery.finished += 1;
                        continue;
                    }
                    recovery.messages += 1;
                    recovery.rescheduled += u64::from(!schedule_good);
                    each(id, stored);
                }
                Err(ReadError::Io(error)) => {
                    return Err(SpoolError::io("read", &folder.path_of(&name), error));
                }
                Err(ReadError::Damage(damage)) => {
                    let moved_to = spool.put_aside(folder, &name)?;
                    recovery.quarantined.push(Quarantined { moved_to, damage });
                }
            }
        }
    }
    Ok(recovery)
}

fn read(
    folder: &Folder,
    number: u64,
    name: &OsStr,
    buffer: &mut Vec<u8>,
) -> Result<(QueueId, Stored, bool), ReadError> {
    let id: QueueId = name.to_str().and_then(|name| name.parse().ok()).ok_or(Damage::Name)?;
    if id.0 % FOLDERS != number {
        return Err(Damage::Folder.into());
    }
    let file = match folder.open(name, OFlags::RDONLY) {
        Ok(file) => file,
        // a link; a socket
        Err(Errno::LOOP | Errno::NXIO) => return Err(Damage::NotAFile.into()),
        Err(error) => return Err(std::io::Error::from(error).into()),
    };
    buffer.resize(READ_BYTES, 0);
    let (header, stored, schedule_good) = read_message(&file, id, buffer)?;
    if header.content_bytes <= INLINE_CONTENT_BYTES as u64 {
        // a larger content is checked when it is asked for: a start should not read gigabytes
        let (offset, end) =
            (header.content_offset() as usize, (header.content_offset() + header.content_bytes) as usize);
        read_up_to(&file, buffer, end)?;
        check_content(&header, crc32fast::hash(&buffer[offset..end]))?;
    }
    Ok((id, stored, schedule_good))
}

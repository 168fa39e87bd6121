//! A disk in memory that does what real ones may: forgets what was not synced, keeps parts of it in any order, fails,
//! fills up, and dies in the middle of anything. All from one seed.

use rustix::io::Errno;
use spool::disk::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// How likely what goes wrong is, once in so many calls; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub write_error: u32,
    pub sync_error: u32,
    pub name_error: u32,
    /// Bytes that fit; `None`: any.
    pub capacity: Option<usize>,
    /// Calls until the machine stops.
    pub calls_left: Option<u32>,
}

#[derive(Debug, Default)]
struct Contents {
    /// What the system shows: on disk or in its cache.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Written and not synced: sectors, in the order of their writing.
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug)]
struct World {
    random: fastrand::Rng,
    faults: Faults,
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
    is_dead: bool,
}

#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Debug)]
struct SimulatedFile {
    world: Arc<Mutex<World>>,
    number: usize,
}

fn apply(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Create(name, file) => drop(names.insert(name.clone(), *file)),
        Naming::Rename(name, new_name) => {
            if let Some(file) = names.remove(name) {
                names.insert(new_name.clone(), file);
            }
        }
        Naming::Remove(name) => drop(names.remove(name)),
    }
}

impl Contents {
    fn put(bytes: &mut Vec<u8>, offset: usize, piece: &[u8]) {
        if bytes.len() < offset + piece.len() {
            bytes.resize(offset + piece.len(), 0);
        }
        bytes[offset..offset + piece.len()].copy_from_slice(piece);
    }

    /// Some of what was not synced reaches the disk, whatever the order in which it was written.
    fn settle(&mut self, random: &mut fastrand::Rng) {
        let share = random.u32(0..=4);
        let mut sectors = std::mem::take(&mut self.unsynced);
        random.shuffle(&mut sectors);
        for (offset, piece) in sectors {
            if random.u32(0..4) < share {
                Contents::put(&mut self.durable, offset, &piece);
            }
        }
    }
}

impl World {
    fn fails(&mut self, which: fn(&Faults) -> u32) -> bool {
        let once_in = which(&self.faults);
        once_in > 0 && self.random.u32(0..once_in) == 0
    }

    /// Counts a call; afterwards nothing works any more.
    fn call(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.faults.calls_left {
            if *left == 0 {
                self.is_dead = true;
            } else {
                *left -= 1;
            }
        }
        if self.is_dead { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].seen.len()).sum()
    }

    fn name_call(&mut self, naming: Naming) -> io::Result<()> {
        self.call()?;
        if self.fails(|faults| faults.name_error) {
            return Err(Errno::IO.into());
        }
        apply(&mut self.names, &naming);
        self.unsynced_names.push(naming);
        Ok(())
    }
}

impl SimulatedDisk {
    pub fn new(seed: u64, faults: Faults) -> SimulatedDisk {
        let world = World {
            random: fastrand::Rng::with_seed(seed),
            faults,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            is_dead: false,
        };
        SimulatedDisk { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("not poisoned")
    }

    pub fn is_dead(&self) -> bool {
        self.world().is_dead
    }

    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// The process is gone; what it wrote is in the system's cache, and the next one finds it there.
    pub fn kill(&self) {
        self.world().is_dead = false;
    }

    /// The power is gone, and comes back.
    pub fn lose_power(&self) {
        let mut world = self.world();
        let World { random, files, names, durable_names, unsynced_names, .. } = &mut *world;
        for naming in unsynced_names.drain(..) {
            if random.bool() {
                apply(durable_names, &naming);
            }
        }
        names.clone_from(durable_names);
        for file in files {
            file.settle(random);
            file.seen.clone_from(&file.durable);
        }
        world.is_dead = false;
    }

    /// Puts something else in a file's place, on the disk and in the cache.
    pub fn replace(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let number = world.names[name];
        let file = &mut world.files[number];
        bytes.clone_into(&mut file.seen);
        bytes.clone_into(&mut file.durable);
        file.unsynced.clear();
    }

    /// Flips a bit of what is on the disk and in the cache.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut world = self.world();
        let number = world.names[name];
        let file = &mut world.files[number];
        file.seen[bit / 8] ^= 1 << (bit % 8);
        file.durable.clone_from(&file.seen);
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.files[world.names[name]].seen.clone()
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        if world.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let number = world.files.len();
        world.files.push(Contents::default());
        world.name_call(Naming::Create(name.to_owned(), number))?;
        Ok(Arc::new(SimulatedFile { world: self.world.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.call()?;
        let number = *world.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { world: self.world.clone(), number }))
    }

    fn rename(&self, name: &str, new_name: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(name) || world.names.contains_key(new_name) {
            return Err(Errno::EXIST.into());
        }
        world.name_call(Naming::Rename(name.to_owned(), new_name.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        world.name_call(Naming::Remove(name.to_owned()))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.call()?;
        Ok(world.names.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        world.call()?;
        if world.fails(|faults| faults.name_error) {
            return Err(Errno::IO.into());
        }
        let World { durable_names, unsynced_names, .. } = &mut *world;
        unsynced_names.drain(..).for_each(|naming| apply(durable_names, &naming));
        Ok(())
    }
}

impl SimulatedFile {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("not poisoned")
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut world = self.world();
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let mut result = world.call();
        if result.is_ok() && world.fails(|faults| faults.write_error) {
            result = Err(Errno::IO.into());
        }
        let offset = offset as usize;
        let grows = (offset + bytes.len()).saturating_sub(world.files[self.number].seen.len());
        let room = world.faults.capacity.map(|capacity| capacity.saturating_sub(world.used()));
        if result.is_ok() && room.is_some_and(|room| grows > room) {
            let fits = bytes.len() - grows.min(bytes.len()) + room.unwrap_or(0).min(grows);
            bytes.truncate(fits.min(bytes.len()));
            result = Err(Errno::NOSPC.into());
        } else if result.is_err() {
            let part = world.random.usize(0..=bytes.len());
            bytes.truncate(part);
        }
        let file = &mut world.files[self.number];
        Contents::put(&mut file.seen, offset, &bytes);
        let mut at = offset;
        while at < offset + bytes.len() {
            let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len());
            file.unsynced.push((at, bytes[at - offset..end - offset].to_vec()));
            at = end;
        }
        result
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.world();
        world.call()?;
        let seen = &world.files[self.number].seen;
        let from = seen.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        let stopped = world.call();
        let failed = stopped.is_err() || world.fails(|faults| faults.sync_error);
        let World { random, files, .. } = &mut *world;
        let file = &mut files[self.number];
        if failed {
            // as Linux does: what was not written is forgotten, shown all the same, and not tried again
            if stopped.is_ok() {
                file.settle(random);
            }
            return Err(Errno::IO.into());
        }
        file.durable.clone_from(&file.seen);
        file.unsynced.clear();
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        let mut world = self.world();
        world.call()?;
        Ok(world.files[self.number].seen.len() as u64)
    }
}

//! The living agents by process: what the starter remembers of each.
//!
//! A page that the starter writes between two forks stays with the child as it was, as a page of the child's own. So
//! this is a table in memory that children do not get, and not a hash map on the heap.

use crate::link::AgentNumber;
use rustix::process::Pid;
use std::io;
use sys::memory::WipedOnFork;

/// Open addressing by pid, since the kernel counts those up: neighbours in time are neighbours here.
pub(crate) struct Roster {
    /// Two words a slot: pid, 0 for an empty one; number of the agent.
    slots: WipedOnFork,
    count: usize,
}

impl Roster {
    pub(crate) fn new() -> io::Result<Roster> {
        Roster::of_slots(SLOTS_FIRST)
    }

    fn of_slots(slots: usize) -> io::Result<Roster> {
        Ok(Roster { slots: WipedOnFork::zeroed(slots * 2)?, count: 0 })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes room for one more, so that [`Roster::insert`] can't fail.
    pub(crate) fn reserve(&mut self) -> io::Result<()> {
        if self.count < self.len() / 2 {
            return Ok(());
        }
        let mut larger = Roster::of_slots(self.len() * 2)?;
        for pid in self.pids() {
            let at = self.find(pid).expect("it was just seen");
            larger.insert(pid, self.agent(at));
        }
        *self = larger;
        Ok(())
    }

    /// After [`Roster::reserve`].
    pub(crate) fn insert(&mut self, pid: Pid, agent: AgentNumber) {
        assert!(self.count < self.len(), "a slot stays empty, or searches would not end");
        let mut at = self.home(word(pid));
        while self.pid(at) != 0 {
            at = self.next(at);
        }
        self.put(at, word(pid), agent.0);
        self.count += 1;
    }

    pub(crate) fn remove(&mut self, pid: Pid) -> Option<AgentNumber> {
        let at = self.find(pid)?;
        let agent = self.agent(at);
        // whoever had to go further because of it comes nearer, so that a search may end at an empty slot
        let mut hole = at;
        let mut follower = self.next(at);
        while self.pid(follower) != 0 {
            let home = self.home(self.pid(follower));
            if self.distance(home, follower) >= self.distance(hole, follower) {
                self.put(hole, self.pid(follower), self.agent(follower).0);
                hole = follower;
            }
            follower = self.next(follower);
        }
        self.put(hole, 0, 0);
        self.count -= 1;
        Some(agent)
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        (0..self.len()).filter_map(|at| Pid::from_raw(self.pid(at) as i32))
    }

    /// The process of an agent; looks at all.
    pub(crate) fn pid_of(&self, agent: AgentNumber) -> Option<Pid> {
        let at = (0..self.len()).find(|at| self.pid(*at) != 0 && self.agent(*at) == agent)?;
        Pid::from_raw(self.pid(at) as i32)
    }

    fn find(&self, pid: Pid) -> Option<usize> {
        let mut at = self.home(word(pid));
        while self.pid(at) != word(pid) {
            if self.pid(at) == 0 {
                return None;
            }
            at = self.next(at);
        }
        Some(at)
    }

    fn len(&self) -> usize {
        self.slots.len() / 2
    }

    fn home(&self, pid: u64) -> usize {
        pid as usize & (self.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.len() - 1)
    }

    /// Steps from one slot to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.len() - 1)
    }

    fn pid(&self, at: usize) -> u64 {
        self.slots[at * 2]
    }

    fn agent(&self, at: usize) -> AgentNumber {
        AgentNumber(self.slots[at * 2 + 1])
    }

    fn put(&mut self, at: usize, pid: u64, agent: u64) {
        self.slots[at * 2] = pid;
        self.slots[at * 2 + 1] = agent;
    }
}

/// Doubled when half of them are taken.
const SLOTS_FIRST: usize = 4096;

fn word(pid: Pid) -> u64 {
    pid.as_raw_nonzero().get() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_knows_what_a_map_knows_whoever_comes_and_goes() {
        let mut roster = Roster::of_slots(16).expect("memory");
        let mut map = HashMap::new();
        let mut state = 7u64;
        for number in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // few homes, so that most have to go further
            let pid = Pid::from_raw((state >> 33) as i32 % 600 + 1).expect("positive");
            if map.contains_key(&pid) {
                assert_eq!(roster.remove(pid), map.remove(&pid));
            } else if map.len() < 300 {
                roster.reserve().expect("memory");
                roster.insert(pid, AgentNumber(number));
                map.insert(pid, AgentNumber(number));
            }
            assert_eq!(roster.remove(Pid::from_raw(1000).expect("positive")), None);
            assert_eq!(roster.is_empty(), map.is_empty());
        }
        assert!(map.len() > 50);
        assert!(map.iter().all(|(pid, agent)| roster.pid_of(*agent) == Some(*pid)));
        let mut pids: Vec<Pid> = roster.pids().collect();
        pids.retain(|pid| !map.contains_key(pid));
        assert!(pids.is_empty() && roster.pids().count() == map.len());
    }
}

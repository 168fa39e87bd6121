//! Which cores the subject has and which the sink, the load generator and the harness have.

use rustix::thread::CpuSet;

/// Cores by number. Pinned: the subject has the last allowed core for itself and everything else shares the
/// others. Shared: all have all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    pub subject: Vec<usize>,
    pub others: Vec<usize>,
}

impl Cores {
    /// The cores that this process may use now.
    pub fn allowed() -> std::io::Result<Vec<usize>> {
        let set = rustix::thread::sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    pub fn shared(allowed: &[usize]) -> Cores {
        Cores { subject: allowed.to_vec(), others: allowed.to_vec() }
    }

    /// The subject has cores of its own.
    pub fn are_apart(&self) -> bool {
        self.subject.iter().all(|core| !self.others.contains(core))
    }

    /// `None` where there is one core only: then pinning would just be a name.
    pub fn pinned(allowed: &[usize]) -> Option<Cores> {
        let (subject, others) = allowed.split_last()?;
        if others.is_empty() {
            None
        } else {
            Some(Cores { subject: vec![*subject], others: others.to_vec() })
        }
    }
}

/// Binds the calling thread, and what it starts from then on, to `cores`.
pub fn bind(cores: &[usize]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_gets_the_last_core_alone() {
        let pinned = Cores { subject: vec![7], others: vec![2, 3] };
        assert_eq!(Cores::pinned(&[2, 3, 7]), Some(pinned));
        assert_eq!(Cores::pinned(&[4]), None);
    }

    #[test]
    fn a_bound_thread_has_just_these_cores() {
        std::thread::spawn(|| {
            let last = *Cores::allowed().expect("cores").last().expect("at least one");
            bind(&[last]).expect("bind");
            assert_eq!(Cores::allowed().expect("cores"), [last]);
        })
        .join()
        .expect("the bound thread");
    }
}

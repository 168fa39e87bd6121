//! The processes of the shards: started, listened to and ended, with a bound on every wait.
//!
//! They die with the thread that starts them (prctl(2) PR_SET_PDEATHSIG), so that has to be the one that runs the sink.
//! It must not know what they serve.

use crate::error::ShardTrouble;
use crate::live::Live;
use crate::watch::READY;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::os::unix::process::CommandExt;
use std::pin::pin;
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::select;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

/// All shards, by place: the first is number 1.
#[derive(Default)]
pub struct Crew {
    shards: Vec<Process>,
    heard: Rc<Notify>,
}

/// Which shard, by number, has which trouble.
pub type Trouble = (u32, ShardTrouble);

struct Process {
    /// Killed when dropped.
    child: Child,
    said: Rc<RefCell<Said>>,
    ended: Option<ExitStatus>,
}

/// What a shard has said so far.
#[derive(Default)]
struct Said {
    ready: usize,
    live: Option<Live>,
}

impl Crew {
    /// Starts one more shard. Needs a tokio runtime.
    ///
    /// # Errors
    /// The process cannot be had.
    pub fn start(&mut self, mut command: Command) -> Result<(), Trouble> {
        // A group of their own: Ctrl-C at a terminal is for the parent, which ends them in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let number = self.shards.len() as u32 + 1;
        let started = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        let mut child = started.map_err(|source| (number, ShardTrouble::NotStarted(source)))?;
        let said = Rc::new(RefCell::default());
        if let Some(stdout) = child.stdout.take() {
            spawn_local(listen(stdout, Rc::clone(&said), Rc::clone(&self.heard)));
        }
        self.shards.push(Process { child, said, ended: None });
        Ok(())
    }

    /// Waits until each listens on `addresses` addresses.
    ///
    /// # Errors
    /// One ends before, or is not ready within `bound`.
    pub async fn ready(&mut self, addresses: usize, bound: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + bound;
        loop {
            let waiting = self.shards.iter().position(|shard| shard.said.borrow().ready < addresses);
            let Some(waiting) = waiting else { return Ok(()) };
            let heard = Rc::clone(&self.heard);
            select! {
                (number, status) = self.end_of_one() => return Err((number, ShardTrouble::NotReady(status))),
                () = heard.notified() => {}
                () = sleep_until(until) => return Err((waiting as u32 + 1, ShardTrouble::ReadyLate(bound))),
            }
        }
    }

    /// Where all of them together stand.
    pub fn live(&self) -> Live {
        let mut sum = Live::default();
        for shard in &self.shards {
            if let Some(live) = &shard.said.borrow().live {
                sum.merge(live);
            }
        }
        sum
    }

    /// Waits until one ends that had not, for ever if there is none: its number and how.
    pub async fn end_of_one(&mut self) -> (u32, ExitStatus) {
        poll_fn(|context| {
            for (place, shard) in
                self.shards.iter_mut().enumerate().filter(|(_, shard)| shard.ended.is_none())
            {
                // An error would be of a child that somebody else has waited for: nobody does.
                if let Poll::Ready(Ok(status)) = pin!(shard.child.wait()).poll(context) {
                    shard.ended = Some(status);
                    return Poll::Ready((place as u32 + 1, status));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Ends all that live with SIGTERM, and after `grace` with SIGKILL. Says how each ended, those that had ended before
    /// too: well, or with which trouble.
    pub async fn end(&mut self, grace: Duration) -> Vec<Result<(), ShardTrouble>> {
        self.signal(Signal::TERM);
        let in_time = self.all_ended(grace).await;
        let ends = self.shards.iter().map(|shard| match shard.ended {
            None => Err(ShardTrouble::EndLate(grace)),
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(ShardTrouble::Failed(status)),
        });
        let ends = ends.collect();
        if !in_time {
            self.signal(Signal::KILL);
            self.all_ended(KILL_BOUND).await;
        }
        ends
    }

    /// Ends the delays of all.
    pub fn hurry(&self) {
        self.signal(Signal::USR1);
    }

    /// Waits until all have ended; false: not within `bound`.
    async fn all_ended(&mut self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        while self.shards.iter().any(|shard| shard.ended.is_none()) {
            select! {
                _ = self.end_of_one() => {}
                () = sleep_until(until) => return false,
            }
        }
        true
    }

    fn signal(&self, signal: Signal) {
        for shard in &self.shards {
            // None once it was waited for: the number may be another's by then.
            if let Some(pid) = shard.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                // It may have ended in this moment.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// Takes note of what a shard says, to its end.
async fn listen(stdout: ChildStdout, said: Rc<RefCell<Said>>, heard: Rc<Notify>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.starts_with(READY) {
            said.borrow_mut().ready += 1;
            heard.notify_one();
        } else if let Ok(live) = serde_json::from_str(&line) {
            said.borrow_mut().live = Some(live);
        }
    }
}

/// After SIGKILL: only a process stuck in the kernel takes longer.
const KILL_BOUND: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use tokio::runtime::{Builder, LocalOptions};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn in_runtime<T>(act: impl AsyncFnOnce(Crew) -> T) -> T {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.unwrap().block_on(act(Crew::default()))
    }

    const READY_AND_WAIT: &str = "echo 'ready 127.0.0.1:1'; exec sleep 60";
    const SOON: Duration = Duration::from_millis(150);

    #[test]
    fn a_shard_that_does_not_start_is_named() {
        in_runtime(async |mut crew| {
            let missing = crew.start(Command::new("/nonexistent"));
            assert!(matches!(missing, Err((1, ShardTrouble::NotStarted(_)))), "{missing:?}");
            crew.start(shell(READY_AND_WAIT)).unwrap();
            crew.start(shell("exit 7")).unwrap();
            let (number, trouble) = crew.ready(1, PATIENCE).await.unwrap_err();
            let said = Error::Shard { number, shards: 3, trouble }.to_string();
            assert_eq!(said, "shard 2 of 3 ended before it was ready: exit status: 7");
        });
        in_runtime(async |mut crew| {
            crew.start(shell(READY_AND_WAIT)).unwrap();
            crew.start(shell("echo hello; exec sleep 60")).unwrap();
            let late = crew.ready(1, SOON).await;
            assert!(matches!(late, Err((2, ShardTrouble::ReadyLate(SOON)))), "{late:?}");
        });
    }

    #[test]
    fn all_are_ended_and_who_does_not_is_killed() {
        in_runtime(async |mut crew| {
            let ends_well = "trap 'exit 0' TERM; echo 'ready 127.0.0.1:1'; while :; do sleep 0.01; done";
            crew.start(shell(ends_well)).unwrap();
            crew.start(shell(READY_AND_WAIT)).unwrap();
            crew.start(shell("trap '' TERM; echo 'ready 127.0.0.1:1'; while :; do sleep 1; done")).unwrap();
            crew.ready(1, PATIENCE).await.unwrap();
            let ends = crew.end(SOON).await;
            assert!(
                matches!(ends[..], [Ok(()), Err(ShardTrouble::Failed(_)), Err(ShardTrouble::EndLate(SOON))]),
                "{ends:?}"
            );
            assert!(crew.shards.iter().all(|shard| shard.ended.is_some()), "killed, and waited for");
        });
    }

    const PATIENCE: Duration = Duration::from_secs(20);
}

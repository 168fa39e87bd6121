//! Writing what the kernel does not take at once, what is dripped, and what never ends.

use super::{Connection, Lost};
use crate::clock;
use crate::conversation::Pause;
use behaviour::{Act, Pace, Say};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Sleep, timeout};

impl Connection {
    /// Writes what is left to be written before `next`, as long as the client reads.
    pub(super) async fn write_rest(&mut self, next: &Pause, mut limit: Pin<&mut Sleep>) -> Result<(), Lost> {
        let keep = match next {
            Pause::Drip { from, .. } => self.output.len() - from,
            _ => 0,
        };
        while self.output.len() > keep {
            let end = self.output.len() - keep;
            let written = poll_fn(|context| {
                match self.wire.poll_write(context, &self.output[..end]) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Lost::Closed)),
                    Poll::Ready(Ok(written)) => return Poll::Ready(Ok(written)),
                    Poll::Pending => {}
                }
                self.poll_silence(context, limit.as_mut()).map(Err)
            });
            let written = written.await?;
            self.took(written);
        }
        if keep == 0 {
            self.all_written();
        }
        Ok(())
    }

    /// Writes what is left so many bytes at a time.
    pub(super) async fn drip(&mut self, pace: Pace) -> Result<(), Lost> {
        loop {
            let bytes = pace.bytes.min(self.output.len());
            self.write_part(bytes).await?;
            if self.output.is_empty() {
                self.all_written();
                return Ok(());
            }
            self.shared.delay(pace.every).await;
        }
    }

    /// Says the same again and again until the client has had enough.
    pub(super) async fn say_endlessly(&mut self, act: &Act) -> Result<Pause, Lost> {
        let Say::Endless { bytes, every } = &act.say else { return Ok(Pause::End(act.then)) };
        // At full speed as much as a write takes well.
        let times = if every.is_zero() { ENDLESS_BYTES.div_ceil(bytes.len()) } else { 1 };
        let words = bytes.repeat(times);
        loop {
            self.output.extend_from_slice(&words);
            self.write_part(words.len()).await?;
            // At full speed it would have the loop for itself, as long as the client reads.
            match every.is_zero() {
                true => tokio::task::yield_now().await,
                false => self.shared.delay(*every).await,
            }
        }
    }

    /// The first `left` bytes of what is to be written, by and by; a client that takes none for too long is lost.
    async fn write_part(&mut self, mut left: usize) -> Result<(), Lost> {
        let silence = self.shared.silence;
        while left > 0 {
            let write = poll_fn(|context| self.wire.poll_write(context, &self.output[..left]));
            match timeout(silence, write).await {
                Ok(Ok(written)) if written > 0 => {
                    self.took(written);
                    left -= written;
                }
                Ok(_) => return Err(Lost::Closed),
                Err(_) => return Err(Lost::Silent),
            }
        }
        Ok(())
    }

    /// Tells a silent client why it is dropped, if it takes the words soon.
    pub(super) async fn last_words(&mut self) {
        self.conversation.time_out(&mut self.shared.books.borrow_mut(), &mut self.output);
        let words = self.output.len();
        // Nothing is lost with them: the connection closes either way.
        let _ = timeout(LAST_WORDS_MAX, self.write_part(words)).await;
    }

    /// Waits before the greeting; says whether the client talked meanwhile.
    pub(super) async fn guard(&mut self, delay: Duration) -> bool {
        let talked = poll_fn(|context| self.poll_talked(context));
        timeout(delay, talked).await.unwrap_or_default()
    }

    fn took(&mut self, bytes: usize) {
        self.output.drain(..bytes);
        self.active_ns = clock::now_ns();
    }

    fn all_written(&mut self) {
        self.output = Vec::new();
        self.conversation.written(&mut self.shared.books.borrow_mut(), clock::now_ns());
    }
}

/// How long a client that was silent may take to read that it is dropped.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// What is written at once of what never ends.
const ENDLESS_BYTES: usize = 16 * 1024;

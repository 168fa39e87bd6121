//! Waiting, and what a delivery that waits long does not keep.

use crate::parcel::Message;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// A delivery that has waited so long gives its message back, and asks for it again when it is needed. Quick ones keep
/// it, and pay nothing: the wait has a timer anyway.
pub const KEEP: Duration = Duration::from_secs(1);

/// Waits for `event`, no longer than `patience`; `None` when that is over. A wait that can be begun anew is better done by
/// two: this one has room for the event twice.
pub async fn wait<T>(
    patience: Duration,
    message: &mut Option<Message>,
    event: impl Future<Output = T>,
) -> Option<T> {
    let mut event = pin!(event);
    let mut rest = patience;
    if message.is_some() && patience > KEEP {
        if let Ok(came) = timeout(KEEP, event.as_mut()).await {
            return Some(came);
        }
        *message = None;
        rest -= KEEP;
    }
    timeout(rest, event).await.ok()
}

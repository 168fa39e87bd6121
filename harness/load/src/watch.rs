//! Who is told of a run while it lasts: those who look on, and the files that hold each second.

use crate::progress::Progress;
use crate::record::Recorder;
use crate::statistics::summary::Interval;
use std::time::Duration;

/// Who is told of each part of a run.
#[derive(Default)]
pub struct Watch {
    pub progress: Option<Progress>,
    pub recorder: Option<Recorder>,
}

impl Watch {
    /// How long a part is; none if nobody wants to know.
    pub fn every(&self) -> Option<Duration> {
        match (&self.recorder, &self.progress) {
            (Some(_), _) => Some(RECORDED),
            (None, Some(progress)) => Some(progress.every()),
            (None, None) => None,
        }
    }

    /// A part is over.
    pub fn tell(&mut self, interval: Interval) {
        if let Some(progress) = &mut self.progress {
            progress.show(&interval);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.write(interval);
        }
    }

    /// The run is over: waits until all is written.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn finish(self) -> Result<(), String> {
        if let Some(mut progress) = self.progress {
            progress.finish();
        }
        self.recorder.map_or(Ok(()), Recorder::finish)
    }
}

/// What a row of a time series stands for.
const RECORDED: Duration = Duration::from_secs(1);

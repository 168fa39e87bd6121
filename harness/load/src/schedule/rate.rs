//! How many messages a second are meant at each time of a run, and when each message is due.
//!
//! The rate is made of straight pieces. Their sum up to a time is the number of messages due by then; turned round, it gives
//! the time at which the count reaches a number. Evenly spaced messages are due when it reaches 0, 1, 2 ..; those of a
//! Poisson process when it reaches sums of exponential steps of mean 1, which is exact for any course of the rate.

use super::Shard;
use distribution::unit_exponential;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A straight piece of the rate's course.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Messages a second at its beginning.
    pub from: f64,
    /// Messages a second at its end.
    pub to: f64,
    pub length: Duration,
}

/// The rate from the start of a run to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course(Vec<Piece>);

/// How messages lie between each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spacing {
    /// Evenly.
    Even,
    /// As independent senders would make them: gaps of a Poisson process, from this seed.
    Poisson { seed: u64 },
}

impl Course {
    /// `rate` messages a second for as long as anyone could want.
    pub fn constant(rate: f64) -> Course {
        Course(vec![Piece { from: rate, to: rate, length: settings::duration::LONGEST }])
    }

    /// One piece after the other.
    pub fn new(pieces: Vec<Piece>) -> Course {
        Course(pieces)
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Until the last piece is over.
    pub fn length(&self) -> Duration {
        self.0.iter().map(|piece| piece.length).sum()
    }

    /// The highest rate of all, in messages a second.
    pub fn highest(&self) -> f64 {
        self.0.iter().fold(0.0, |highest, piece| highest.max(piece.from).max(piece.to))
    }
}

impl Piece {
    /// Messages that are due within it.
    fn messages(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }

    /// When so many messages are due since its beginning, which must not be more than [`Piece::messages`].
    fn reached(&self, messages: f64) -> Duration {
        if messages <= 0.0 {
            return Duration::ZERO;
        }
        let slope = (self.to - self.from) / self.length.as_secs_f64();
        // The root of slope/2 t^2 + from t = messages, in the form that neither slope nor rate 0 breaks.
        let root = (self.from * self.from + 2.0 * slope * messages).max(0.0).sqrt();
        Duration::try_from_secs_f64(2.0 * messages / (self.from + root))
            .map_or(self.length, |at| at.min(self.length))
    }
}

/// The due times of one shard's messages, since the start, ascending.
#[derive(Clone)]
pub struct Arrivals {
    course: Course,
    /// Index of the piece under way, when it began, and what was due before it.
    piece: usize,
    began: Duration,
    before: f64,
    counts: Counts,
    /// Messages of other shards before our next one.
    skip: u32,
    of: u32,
}

/// The counts at which messages are due.
#[derive(Clone)]
enum Counts {
    Even { next: u64 },
    Poisson { random: Rng, sum: f64 },
}

impl Arrivals {
    pub fn new(course: Course, spacing: Spacing, shard: Shard) -> Arrivals {
        let counts = match spacing {
            Spacing::Even => Counts::Even { next: 0 },
            Spacing::Poisson { seed } => Counts::Poisson { random: Rng::with_seed(seed), sum: 0.0 },
        };
        Arrivals {
            course,
            piece: 0,
            began: Duration::ZERO,
            before: 0.0,
            counts,
            skip: shard.index,
            of: shard.of,
        }
    }

    fn at(&mut self, count: f64) -> Option<Duration> {
        loop {
            let piece = self.course.0.get(self.piece)?;
            let messages = piece.messages();
            // What is due at the very end of a piece belongs to the next one.
            if count - self.before < messages {
                return Some(self.began + piece.reached(count - self.before));
            }
            self.before += messages;
            self.began += piece.length;
            self.piece += 1;
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut count = self.counts.step();
        for _ in 0..self.skip {
            count = self.counts.step();
        }
        self.skip = self.of - 1;
        self.at(count)
    }
}

impl Counts {
    fn step(&mut self) -> f64 {
        match self {
            Counts::Even { next } => {
                *next += 1;
                (*next - 1) as f64
            }
            Counts::Poisson { random, sum } => {
                *sum += unit_exponential(random);
                *sum
            }
        }
    }
}

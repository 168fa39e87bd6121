//! A request as an agent has it: with the descriptor that came beside it.

use crate::wire::WireError;
use crate::{Content, DeliveryRequest};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// A file's content is read and written in pieces of this size.
pub const BODY_PIECE_BYTES: usize = 64 * 1024;

/// A request and, when its content is not inline, the file that holds it.
#[derive(Debug)]
pub struct Received {
    pub request: DeliveryRequest,
    pub file: Option<OwnedFd>,
}

impl Received {
    /// Decodes the payload of a frame. `descriptors` are those that came in and have no request yet, oldest first.
    ///
    /// # Errors
    /// It is no request, or one that needs a file and came without.
    pub fn decode(
        kind: u8,
        payload: &[u8],
        descriptors: &mut VecDeque<OwnedFd>,
    ) -> Result<Received, WireError> {
        Received::with_file(DeliveryRequest::decode(kind, payload)?, descriptors)
    }

    /// As [`Received::decode`], of a buffer that holds one frame and nothing else; its memory becomes the message's.
    ///
    /// # Errors
    /// As there.
    pub fn from_frame(frame: Vec<u8>, descriptors: &mut VecDeque<OwnedFd>) -> Result<Received, WireError> {
        Received::with_file(DeliveryRequest::from_frame(frame)?, descriptors)
    }

    fn with_file(
        request: DeliveryRequest,
        descriptors: &mut VecDeque<OwnedFd>,
    ) -> Result<Received, WireError> {
        let file = match request.content {
            Content::Inline(_) => None,
            Content::Descriptor { .. } => {
                Some(descriptors.pop_front().ok_or(WireError::Invalid("request: its file is missing"))?)
            }
        };
        Ok(Received { request, file })
    }
}

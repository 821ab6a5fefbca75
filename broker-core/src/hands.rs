//! What the parts of a broker that coordinate through the keeper hold during one step.
//!
//! Parts own their state and nothing of each other; the clock, the driver's [`Io`], the keeper session and the request
//! channel are handed to them for the step.

use crate::keeper_session::Keeper;
use crate::request_channel::RequestChannel;
use protocol::api::ResponseBody;
use protocol::machine::{Io, RequestToken};
use protocol::time::Now;

/// The hands.
pub struct Hands<'a, 'b> {
    /// The node's clocks.
    pub now: Now,
    /// The driver.
    pub io: &'a mut Io<'b>,
    /// The keeper session.
    pub keeper: &'a mut Keeper,
    /// Where answers go.
    pub requests: &'a mut RequestChannel,
}

impl Hands<'_, '_> {
    /// Answers a request.
    pub fn respond(&mut self, token: RequestToken, body: impl Into<ResponseBody>) {
        self.requests.respond(self.io, token, body);
    }
}

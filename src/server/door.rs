//! temp
use super::{Waiting, WayBack};
use crate::responder::Responder;
use crate::upstream::exchange::Deliver;
use crate::wire::Answer;
use std::sync::Arc;
/// temp
pub struct Door(Responder);
impl Door {
    /// temp
    pub fn new(responder: Responder) -> Self {
        Self(responder)
    }
}
impl Deliver<Waiting> for Door {
    fn deliver(&mut self, answered: &mut Vec<(Waiting, Arc<Answer>)>) {
        for (waiting, answer) in answered.drain(..) {
            let mut out = vec![0; 65535];
            let n = self.0.finish(&waiting.pending, &answer, &mut out);
            out.truncate(n);
            if let WayBack::Caller(c) = waiting.way_back {
                let _ = c.send(out);
            }
        }
    }
}

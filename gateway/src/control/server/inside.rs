//! The page's thread as a client: it asks as others do, without a socket.

use mio::Token;

use super::Server;
use crate::config::Http;
use crate::status::protocol::{Request, Response};
use crate::web::{Access, Line, Word};

impl Server {
    /// Answers what the page asks, too.
    pub(in crate::control) fn serve_page(&mut self, line: Line) {
        self.page = Some(line);
    }

    /// Other tokens and names for the page, if there is one.
    pub(in crate::control) fn reconfigure_page(&self, http: Option<&Http>) {
        if let (Some(line), Some(http)) = (&self.page, http) {
            line.say(Word::Access(Access::of(http)));
        }
    }

    /// What the page asks next. It has checked who may act.
    pub(super) fn asked_inside(&self) -> Option<(Token, Result<Request, Response>)> {
        let (number, request) = self.page.as_ref()?.next()?;
        Some((Token(INSIDE | number), Ok(request)))
    }

    /// Answers the page; false if it was somebody else who asked.
    pub(super) fn reply_inside(&self, token: Token, response: &Response) -> bool {
        let is_inside = token.0 & INSIDE != 0;
        if let Some(line) = self.page.as_ref().filter(|_| is_inside) {
            line.say(Word::Answer(token.0 & !INSIDE, response.clone()));
        }
        is_inside
    }
}

/// More than there will be clients.
const INSIDE: usize = 1 << (usize::BITS - 1);

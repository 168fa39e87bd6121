//! From a recipient's domain to the next hop.

use delivery::NextHop;
use smtp::ForwardPath;
use std::collections::HashMap;

/// The transport table and the relay host behind it.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_domain: HashMap<String, NextHop>,
    relayhost: Option<NextHop>,
}

impl Routes {
    /// `table` is from domain (any case) to next hop; `relayhost` takes what the table does not name.
    pub fn new(table: impl IntoIterator<Item = (String, NextHop)>, relayhost: Option<NextHop>) -> Routes {
        let by_domain = table.into_iter().map(|(domain, hop)| (domain.to_ascii_lowercase(), hop)).collect();
        Routes { by_domain, relayhost }
    }

    /// Where mail for this recipient goes; `None` = nowhere.
    pub fn next_hop(&self, recipient: &ForwardPath) -> Option<&NextHop> {
        let listed = recipient.domain().and_then(|domain| {
            self.by_domain.get(domain).or_else(|| self.by_domain.get(&domain.to_ascii_lowercase()))
        });
        listed.or(self.relayhost.as_ref())
    }
}

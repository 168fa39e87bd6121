//! The operator's log, read as its documented form says and no looser.

/// One line of a recipient's outcome.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub queue_id: String,
    pub to: String,
    pub relay: String,
    pub dsn: String,
    pub status: String,
    /// What stands in parentheses.
    pub reply: String,
}

/// `queue_id= to= relay= delay= delays=a/b/c/d dsn= status= (reply)`; `None` for lines about something else.
/// Panics for a line that looks like one and is none.
pub fn outcome(line: &str) -> Option<Outcome> {
    if !line.starts_with("queue_id=") || !line.contains(" status=") {
        return None;
    }
    Some(parse(line).unwrap_or_else(|| panic!("not the documented form: {line}")))
}

fn parse(line: &str) -> Option<Outcome> {
    let mut words = line.splitn(8, ' ');
    let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    let queue_id = value("queue_id")?;
    let to = value("to")?.strip_prefix('<')?.strip_suffix('>')?.to_owned();
    let relay = value("relay")?;
    let delay_s = seconds(&value("delay")?)?;
    let delays_s = value("delays")?.split('/').map(seconds).collect::<Option<Vec<f64>>>()?;
    let dsn = value("dsn")?;
    let status = value("status")?;
    let reply = words.next()?.strip_prefix('(')?.strip_suffix(')')?.to_owned();
    let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let class = match status.as_str() {
        "sent" => "2",
        "deferred" => "4",
        "bounced" => "5",
        _ => return None,
    };
    let dsn_is_right = dsn.starts_with(class) && dsn.split('.').count() == 3 && dsn.split('.').all(digits);
    // each of the four is rounded on its own
    let adds_up = delays_s.len() == 4 && (delays_s.iter().sum::<f64>() - delay_s).abs() < 0.003;
    let id_is_right = queue_id.len() >= 12 && queue_id.bytes().all(|b| b.is_ascii_hexdigit());
    (dsn_is_right && adds_up && id_is_right).then_some(Outcome { queue_id, to, relay, dsn, status, reply })
}

fn seconds(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    (value >= 0.0).then_some(value)
}

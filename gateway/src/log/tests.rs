//! What becomes of an event: which are kept, which are written.

use super::*;

/// A log that nobody reads but the test.
fn log(filter: &str, connections: &[(&str, Level)]) -> &'static Log {
    let connections = connections.iter().map(|(name, level)| ((*name).to_owned(), *level));
    let filter = Filter::new(filter, connections).expect("a filter");
    Box::leak(Box::new(Log::new(filter, Way::Text, false)))
}

fn kept(log: &'static Log, tell: impl FnOnce()) -> Vec<Record> {
    let subscriber = Registry::default().with(log);
    tracing::subscriber::with_default(subscriber, tell);
    log.rings().since(&mut Cursor::default(), usize::MAX).0
}

#[test]
fn what_happened_is_kept_whatever_is_logged() {
    let kept = kept(log("off", &[]), || {
        tracing::warn!(target: "ike", event = "down", conn = %"berlin", code = "E1005", attempt = 3);
        tracing::debug!(target: "ike", event = "acquire", conn = %"berlin");
        tracing::info!(target: "mio", "from a library");
    });
    let [one] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((one.event.as_str(), one.level), ("down", Severity::Warn));
    assert_eq!((one.connection.as_deref(), one.code.as_deref()), (Some("berlin"), Some("E1005")));
    assert_eq!(one.fields, [("attempt".to_owned(), 3.into())]);
}

#[test]
fn details_are_kept_if_they_are_logged() {
    let kept = kept(log("info,ike=debug", &[]), || {
        tracing::debug!(target: "ike", event = "acquire");
        tracing::debug!(target: "child", event = "replaced");
    });
    assert_eq!(kept.iter().map(|one| one.event.as_str()).collect::<Vec<_>>(), ["acquire"]);
}

#[test]
fn a_connection_may_be_louder_than_its_area() {
    let kept = kept(log("error", &[("berlin", Level::DEBUG), ("paris", Level::ERROR)]), || {
        tracing::debug!(target: "ike", event = "acquire", conn = %"berlin");
        tracing::debug!(target: "ike", event = "acquire", conn = %"paris");
        tracing::debug!(target: "ike", event = "acquire", conn = %"rome");
    });
    let names: Vec<_> = kept.iter().filter_map(|one| one.connection.as_deref()).collect();
    assert_eq!(names, ["berlin"]);
}

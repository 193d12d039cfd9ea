//! x
pub(crate) fn list(_: &mut crate::List) {}

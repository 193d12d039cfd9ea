//! One IKE SA.

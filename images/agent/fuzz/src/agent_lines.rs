//! A line is a message or none, in both directions, and a message means the same after it was
//! written again.

use agent::protocol::{Answer, Question};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Runs the target.
pub fn run(input: &[u8]) {
    again::<Question>(input);
    again::<Answer>(input);
}

fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(input) else { return };
    let text = serde_json::to_vec(&message).expect("a message can be written");
    assert!(!text.contains(&b'\n'));
    assert_eq!(serde_json::from_slice::<T>(&text).expect("a message can be read"), message);
}

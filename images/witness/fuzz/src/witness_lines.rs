//! A line is a message or none, in both directions, and a message means the same after it was
//! written again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use witness::protocol::{FromGuest, ServiceAnswer, ToGuest};

/// Runs the target.
pub fn run(input: &[u8]) {
    again::<FromGuest>(input);
    again::<ToGuest>(input);
    again::<ServiceAnswer>(input);
}

fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(input) else { return };
    let text = serde_json::to_vec(&message).expect("a message can be written");
    assert!(!text.contains(&b'\n'));
    assert_eq!(serde_json::from_slice::<T>(&text).expect("a message can be read"), message);
}

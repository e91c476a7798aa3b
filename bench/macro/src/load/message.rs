//! The small message that clients send and origins send back: 64 bytes that say whose they are and which.

/// Both ways.
pub const BYTES: usize = 64;

/// Each message of a client differs from the one before, so an old answer is not taken for a new one.
pub fn message(client: usize, number: u64) -> [u8; BYTES] {
    let mut message = [0x2e; BYTES];
    message[..8].copy_from_slice(&(client as u64).to_be_bytes());
    message[8..16].copy_from_slice(&number.to_be_bytes());
    message
}

/// Whose message begins with these bytes.
pub fn client_of(message: &[u8; BYTES]) -> usize {
    let client: &[u8; 8] = message.first_chunk().expect("a message is longer than 8 bytes");
    u64::from_be_bytes(*client) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_whose_it_is_and_differs_from_the_next() {
        assert_eq!(client_of(&message(7, 1)), 7);
        assert_ne!(message(7, 1), message(7, 2));
        assert_ne!(message(7, 1), message(8, 1));
    }
}

//! Receipt handles: opaque to clients, and self-proving, so that garbage is told from what was once valid.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What a receipt handle stands for: one receive of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The message's number in its queue.
    pub number: u64,
    /// Which of the message's receives it was.
    pub receive: u32,
}

impl Receipt {
    pub fn write(self, secret: Uuid) -> String {
        let Self { number, receive } = self;
        format!("AQEB{number:016x}{receive:08x}{}", self.proof(secret))
    }

    /// `None` for what this queue never handed out.
    pub fn read(handle: &str, secret: Uuid) -> Option<Self> {
        let fields = handle.strip_prefix("AQEB")?;
        let receipt = Self {
            number: u64::from_str_radix(fields.get(..16)?, 16).ok()?,
            receive: u32::from_str_radix(fields.get(16..24)?, 16).ok()?,
        };
        (fields.get(24..)? == receipt.proof(secret)).then_some(receipt)
    }

    fn proof(self, secret: Uuid) -> String {
        let mut hash = Sha256::new();
        hash.update(secret.as_bytes());
        hash.update(self.number.to_be_bytes());
        hash.update(self.receive.to_be_bytes());
        hex(&hash.finalize()[..16])
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

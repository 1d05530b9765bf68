//! Signatures of what is sent: Standard Webhooks (symmetric, version 1), DingTalk's and Feishu's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What secrets of Standard Webhooks begin with; the rest is base64.
const PREFIX: &str = "whsec_";

/// A secret of Standard Webhooks.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// Reads `whsec_...`; anything else is taken as the key's bytes.
    ///
    /// # Errors
    /// What follows `whsec_` is not base64.
    pub fn parse(secret: &str) -> anyhow::Result<Self> {
        let Some(encoded) = secret.strip_prefix(PREFIX) else {
            return Ok(Self(secret.as_bytes().to_vec()));
        };
        // The decoder's error would quote the secret.
        let key = STANDARD.decode(encoded).map_err(|_| {
            anyhow::anyhow!("the secret's part after `{PREFIX}` is not base64: copy it whole")
        })?;
        Ok(Self(key))
    }

    /// The `webhook-signature` of a message.
    #[must_use]
    pub fn signature(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let signed = [format!("{id}.{timestamp_s}.").as_bytes(), body].concat();
        format!("v1,{}", STANDARD.encode(hmac(&self.0, &signed)))
    }
}

/// DingTalk's `sign` query parameter, before URL encoding; the time is in milliseconds.
#[must_use]
pub fn dingtalk(secret: &str, timestamp_ms: u64) -> String {
    STANDARD.encode(hmac(secret.as_bytes(), format!("{timestamp_ms}\n{secret}").as_bytes()))
}

/// Feishu's `sign`: the key is made of time and secret, the message is empty.
#[must_use]
pub fn feishu(secret: &str, timestamp_s: u64) -> String {
    STANDARD.encode(hmac(format!("{timestamp_s}\n{secret}").as_bytes(), b""))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn the_published_standard_webhooks_example() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_damaged_secret_is_not_quoted() {
        let error = Key::parse("whsec_not base64!").err().unwrap().to_string();
        assert!(error.contains("base64") && !error.contains("not base64!"), "{error}");
    }

    /// RFC 4231, test case 2: what both vendors' signatures rest on.
    #[test]
    fn the_rfc_example_of_hmac_sha256() {
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}

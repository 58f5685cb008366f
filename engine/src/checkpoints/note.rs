//! Signed notes, as the tools of transparency logs write and read them (C2SP signed-note), with
//! Ed25519: a text, an empty line, and lines of signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// The type of the signatures: Ed25519 over the text.
const ED25519: u8 = 1;
const KEY_ID: usize = 4;
/// What a line of a signature begins with.
const DASH: &str = "\u{2014} ";
/// Signatures of one note that are looked at. 16: as many as the format says must be.
const SIGNATURES: usize = 16;

/// Signs notes.
pub(super) struct Signing {
    name: String,
    key: SigningKey,
}

/// Checks notes: a name and a public key, written `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl Signing {
    pub(super) fn new(name: &str, secret: &[u8; 32]) -> Self {
        Self { name: name.to_owned(), key: SigningKey::from_bytes(secret) }
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The note of a text that ends with an end of line.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut bytes = self.public().id().to_vec();
        bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{} {}\n", self.name, BASE64.encode(bytes))
    }
}

impl PublicKey {
    /// Reads a key as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = BASE64.decode(key).ok()?;
        let (kind, key) = key.split_first()?;
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        let public = Self { name: name.to_owned(), key };
        let is_sound = *kind == ED25519 && !name.is_empty() && id == public.hex_id();
        is_sound.then_some(public)
    }

    fn id(&self) -> [u8; KEY_ID] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }

    fn hex_id(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }

    /// The text of a note that this key, or one of the others, has signed.
    #[must_use]
    pub fn open<'n>(keys: &[Self], note: &'n str) -> Option<&'n str> {
        let end = note.rfind("\n\n")? + 1;
        let (text, signatures) = (note.get(..end)?, note.get(end + 1..)?);
        if text.contains(|c: char| c.is_ascii_control() && c != '\n') || !note.ends_with('\n') {
            return None;
        }
        let mut is_signed = false;
        for line in signatures.lines().take(SIGNATURES) {
            let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = BASE64.decode(signature).ok()?;
            let (id, signature) = bytes.split_first_chunk::<KEY_ID>()?;
            let known = keys.iter().find(|key| key.name == name && key.id() == *id);
            if let Some(key) = known {
                let signature = Signature::from_slice(signature).ok()?;
                // One signature of a known key that is wrong spoils the note.
                key.key.verify_strict(text.as_bytes(), &signature).ok()?;
                is_signed = true;
            }
        }
        is_signed.then_some(text)
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.hex_id(), BASE64.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf\
        qdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_program_is_read() {
        let key = PublicKey::parse(KEY).expect("a key");
        assert_eq!(key.to_string(), KEY);
        let text = PublicKey::open(std::slice::from_ref(&key), NOTE).expect("is signed");
        assert!(text.ends_with("what your problem is.\n"));
        assert_eq!(PublicKey::open(&[], NOTE), None);
        assert_eq!(PublicKey::open(&[key], &NOTE.replace("think", "thinks")), None);
        assert_eq!(PublicKey::parse(&KEY.replace("c74f", "c74e")), None);
    }

    #[test]
    fn what_is_signed_is_opened_by_its_key_alone() {
        let (one, other) = (Signing::new("factum/1", &[1; 32]), Signing::new("factum/1", &[2; 32]));
        let note = one.sign("a\n\nb\n");
        assert_eq!(PublicKey::open(&[other.public(), one.public()], &note), Some("a\n\nb\n"));
        assert_eq!(PublicKey::open(&[other.public()], &note), None);
        assert_eq!(PublicKey::open(&[one.public()], note.trim_end()), None);
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let opened = String::from_utf8(bytes).ok();
            let text = opened.as_deref().and_then(|note| PublicKey::open(&[one.public()], note));
            assert_eq!(text, None, "byte {at}");
        }
    }
}

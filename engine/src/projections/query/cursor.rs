//! Cursors: where a page ended, for the query it was asked with. A cursor names a place in the
//! order, not a row: rows that come, change or go meanwhile leave it right.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Query, QueryError};

/// The first byte of a cursor.
const VERSION: u8 = 1;
/// Bytes of the hash: enough to tell a cursor of another query.
const HASH_BYTES: usize = 8;

/// What a cursor is bound to: the read model, the conditions, the order, and its place, so that one
/// that was changed is told.
fn bound_to(read_model: &str, query: &Query, place: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(bytes);
    };
    add(read_model.as_bytes());
    for (path, spans) in &query.conditions {
        add(path.as_str().as_bytes());
        add(&spans.len().to_be_bytes());
        for span in spans {
            add(&span.from);
            add(&span.to);
        }
    }
    for part in &query.order {
        add(part.to_string().as_bytes());
    }
    add(&[u8::from(query.key_descending)]);
    add(place);
    let mut bound = [0; HASH_BYTES];
    hasher.finalize_xof().fill(&mut bound);
    bound
}

pub(super) fn encode(read_model: &str, query: &Query, place: &[u8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&bound_to(read_model, query, place));
    bytes.extend_from_slice(place);
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(read_model: &str, query: &Query, text: &str) -> Result<Vec<u8>, QueryError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let place = bytes
        .split_first()
        .filter(|(version, _)| **version == VERSION)
        .and_then(|(_, rest)| rest.split_first_chunk::<HASH_BYTES>())
        .filter(|(bound, place)| **bound == bound_to(read_model, query, place));
    place.map(|(_, place)| place.to_vec()).ok_or_else(|| {
        QueryError::Invalid("the cursor is not one of this query; begin again without it".into())
    })
}

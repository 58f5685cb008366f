//! Components on disk, by digest, each with what was learnt of it when it was uploaded.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::ModuleVersion;
use crate::decision::Hash;
use crate::faults::{Point, fail_point};
use crate::manifest::Manifest;
use crate::storage::data_dir::write_durably;

/// The components in a data directory.
#[derive(Clone, Debug)]
pub struct ComponentStore {
    dir: PathBuf,
}

/// What stands beside a component.
#[derive(Serialize, Deserialize)]
struct Card {
    digest: String,
    size_bytes: u64,
    uploaded_at_ms: u64,
    manifest: Manifest,
}

impl ComponentStore {
    /// Those in a directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The digests of all that are whole.
    ///
    /// # Errors
    /// A sentence, when the directory cannot be read.
    pub fn digests(&self) -> Result<Vec<Hash>, String> {
        Ok(self.list()?.into_iter().map(|version| version.digest).collect())
    }

    /// What stands beside a component.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub fn card(&self, digest: &Hash) -> Result<Vec<u8>, String> {
        let path = self.path(digest, "json");
        let card = std::fs::read(&path).map_err(|e| e.to_string());
        let card = card.and_then(|card| read_card(&card).map(|_| card));
        card.map_err(|reason| format!("{}: {reason}", path.display()))
    }

    /// Keeps a component. The card comes last: without one, the bytes are an unfinished upload.
    pub(super) fn put(&self, version: &ModuleVersion, bytes: &[u8]) -> Result<(), String> {
        let card = Card {
            digest: hex(&version.digest),
            size_bytes: version.size_bytes,
            uploaded_at_ms: version.uploaded_at_ms,
            manifest: version.manifest.clone(),
        };
        let text = serde_json::to_vec_pretty(&card).map_err(|error| error.to_string())?;
        for (extension, content) in [("wasm", bytes), ("json", &text)] {
            let kept = write_durably(&self.path(&version.digest, extension), content);
            kept.map_err(|error| error.to_string())?;
            fail_point(Point::Upload);
        }
        Ok(())
    }

    /// Everything kept. A card that cannot be read is set aside with a word in the log.
    pub(super) fn list(&self) -> Result<Vec<ModuleVersion>, String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match std::fs::read(&path).map_err(|e| e.to_string()).and_then(|text| read_card(&text))
            {
                Ok(version) => found.push(version),
                Err(reason) => tracing::error!(?path, reason, "a component is set aside"),
            }
        }
        Ok(found)
    }

    /// The bytes of a component, compared with its digest.
    ///
    /// # Errors
    /// A sentence, when they cannot be read or are others.
    pub fn bytes(&self, digest: &Hash) -> Result<Vec<u8>, String> {
        let path = self.path(digest, "wasm");
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if blake3::hash(&bytes).as_bytes() == digest {
            Ok(bytes)
        } else {
            Err(format!("{} is damaged: its digest differs", path.display()))
        }
    }

    fn path(&self, digest: &Hash, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", hex(digest)))
    }
}

fn read_card(text: &[u8]) -> Result<ModuleVersion, String> {
    let card: Card = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let digest = blake3::Hash::from_hex(&card.digest).map_err(|error| error.to_string())?;
    Ok(ModuleVersion {
        manifest: card.manifest,
        digest: *digest.as_bytes(),
        size_bytes: card.size_bytes,
        uploaded_at_ms: card.uploaded_at_ms,
        component: Arc::new(Mutex::new(None)),
    })
}

fn hex(digest: &Hash) -> String {
    blake3::Hash::from(*digest).to_hex().to_string()
}

//! Compiled code on disk, so that a component is compiled once.
//!
//! Promises: what it answers is what was put in, by this store: every entry carries a keyed hash
//! of its name and its code, and one that does not fit is as good as none. All of it may be
//! deleted at any time.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::decision::Hash;

const KEY: &str = "key";
const MAC_BYTES: usize = blake3::OUT_LEN;

/// How much compiled code is in a directory, and the names of what is damaged or another store's.
///
/// # Errors
/// The system's.
pub fn check_code(dir: &Path) -> io::Result<(usize, Vec<String>)> {
    let key = match fs::read(dir.join(KEY)) {
        Ok(key) => key,
        // Nothing was ever compiled here.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(error),
    };
    let key = key.try_into().map_err(|_| damaged())?;
    let cache = CodeCache { dir: dir.to_owned(), key, most_bytes: usize::MAX };
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A file that was being written when the end came begins with a dot.
        if name != KEY && !name.starts_with('.') {
            count += 1;
            wrong.extend(cache.read(&name).is_err().then_some(name));
        }
    }
    Ok((count, wrong))
}

/// What code depends on besides the component: the compiler, its settings, the machine. Part of an
/// entry's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings(pub(super) String);

#[derive(Debug)]
pub(super) struct CodeCache {
    dir: PathBuf,
    key: [u8; blake3::KEY_LEN],
    most_bytes: usize,
}

impl CodeCache {
    /// Opens a directory that nobody else may look into; makes it and its key where they are not
    /// there. Entries have at most `most_bytes`.
    ///
    /// # Errors
    /// A sentence, when the directory cannot be used.
    pub(super) fn open(dir: PathBuf, most_bytes: usize) -> Result<Self, String> {
        let key = fs::create_dir_all(&dir)
            .and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o700)))
            .and_then(|()| key(&dir))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, key, most_bytes })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The code of a component, if it is there and sound.
    pub(super) fn get(&self, digest: &Hash, settings: &Settings) -> Option<Vec<u8>> {
        let name = name(digest, settings);
        match self.read(&name) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(name, %error, "compiled code cannot be used; compiling again");
                None
            }
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = File::open(self.dir.join(name))?;
        let most = self.most_bytes.saturating_add(MAC_BYTES);
        let mut bytes = Vec::new();
        file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        let code = bytes.split_off(MAC_BYTES.min(bytes.len()));
        let found = <[u8; MAC_BYTES]>::try_from(bytes).map(blake3::Hash::from);
        // Compared in constant time.
        if found == Ok(self.mac(name, &code)) { Ok(code) } else { Err(damaged()) }
    }

    /// Keeps code, whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn put(&self, digest: &Hash, settings: &Settings, code: &[u8]) -> io::Result<()> {
        let name = name(digest, settings);
        let mac = self.mac(&name, code);
        write(&self.dir, &name, &[mac.as_bytes(), code])
    }

    /// Deletes the code of every component but these, and all that was made under other settings.
    pub(super) fn keep_only(&self, digests: &HashSet<Hash>, settings: &[&Settings]) {
        let names = |digest| settings.iter().map(move |settings| name(digest, settings));
        let kept: HashSet<_> = digests.iter().flat_map(names).collect();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let known = name.to_str().is_some_and(|name| name == KEY || kept.contains(name));
            if !known && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(?name, %error, "old compiled code cannot be deleted");
            }
        }
    }

    /// Deletes the code of one component, which turned out to be none that is kept.
    pub(super) fn forget(&self, digest: &Hash, settings: &Settings) {
        // It may not be there; and the next start deletes what is left.
        let _ = fs::remove_file(self.dir.join(name(digest, settings)));
    }

    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // Names have one length, so none can lend bytes to the code.
        hasher.update(name.as_bytes()).update(code);
        hasher.finalize()
    }
}

fn name(digest: &Hash, settings: &Settings) -> String {
    format!("{}.{}", blake3::Hash::from(*digest).to_hex(), settings.0)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or another store's")
}

/// The key of this store. One that is damaged makes all entries foreign, and they are made again.
fn key(dir: &Path) -> io::Result<[u8; blake3::KEY_LEN]> {
    let kept = match fs::read(dir.join(KEY)) {
        Ok(bytes) => bytes.try_into().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(key) = kept {
        return Ok(key);
    }
    let key = crate::clock::new_secret()?;
    write(dir, KEY, &[&key])?;
    Ok(key)
}

/// Writes a file that only its owner may read, so that after a crash it is whole or not there.
fn write(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.as_file().sync_all()?;
    file.persist(dir.join(name)).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

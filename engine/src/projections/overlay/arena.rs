//! Documents, one after another in one piece of memory: who knows where one begins reads its key,
//! its JSON and what is said of it from one place, which is often one line of a cache.

/// Bytes of a number in front of a document.
const WORD: usize = size_of::<usize>();
/// Bytes in front of a document: its [`Head`].
const HEAD: usize = 4 * WORD;

#[derive(Debug, Default)]
pub(super) struct Arena {
    /// For each document its head, its key, its JSON, and what this may grow by.
    bytes: Vec<u8>,
}

/// What is said of a document. Lengths are in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    key: usize,
    json: usize,
    /// What key and JSON may take.
    room: usize,
    /// If not, it is known that there is no such document.
    is_there: bool,
    /// Whether it is not in the file yet.
    is_changed: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let ([key, json, room, marks, ..], _) = bytes.as_chunks::<WORD>() else { return None };
        let [is_there, is_changed, ..] = marks.map(|mark| mark != 0);
        let [key, json, room] = [key, json, room].map(|word| usize::from_le_bytes(*word));
        Some(Self { key, json, room, is_there, is_changed })
    }

    fn write(self, bytes: &mut [u8]) {
        let ([key, json, room, marks, ..], _) = bytes.as_chunks_mut::<WORD>() else { return };
        *key = self.key.to_le_bytes();
        *json = self.json.to_le_bytes();
        *room = self.room.to_le_bytes();
        let [is_there, is_changed, ..] = marks;
        (*is_there, *is_changed) = (u8::from(self.is_there), u8::from(self.is_changed));
    }
}

impl Arena {
    /// Bytes of all documents, and of those that nobody looks for any more.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes in a document, which may grow by some bytes, and answers where it begins.
    pub(super) fn add(&mut self, key: &str, json: Option<&str>, growth: usize) -> usize {
        let (at, text) = (self.bytes.len(), json.unwrap_or_default());
        let room = (key.len() + text.len() + growth).next_multiple_of(WORD);
        self.bytes.reserve(HEAD + room);
        self.bytes.resize(at + HEAD, 0);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.resize(at + HEAD + room, 0);
        let (key, json, is_there) = (key.len(), text.len(), json.is_some());
        self.write_head(at, Head { key, json, room, is_there, is_changed: false });
        at
    }

    /// Writes another JSON, or that there is no document. False: it may not grow so far.
    pub(super) fn set(&mut self, at: usize, json: Option<&str>) -> bool {
        let (head, text) = (self.head(at), json.unwrap_or_default());
        let start = at + HEAD + head.key;
        let fits = head.key + text.len() <= head.room;
        let to = self.bytes.get_mut(start..start + text.len()).filter(|_| fits);
        let Some(to) = to else { return false };
        to.copy_from_slice(text.as_bytes());
        self.write_head(at, Head { json: text.len(), is_there: json.is_some(), ..head });
        true
    }

    pub(super) fn key(&self, at: usize) -> &str {
        str::from_utf8(self.key_bytes(at)).unwrap_or_default()
    }

    pub(super) fn has_key(&self, at: usize, key: &str) -> bool {
        self.key_bytes(at) == key.as_bytes()
    }

    /// None: it is known that there is no such document.
    pub(super) fn json(&self, at: usize) -> Option<&str> {
        let head = self.head(at);
        let text = self.bytes_at(at + HEAD + head.key, head.json);
        head.is_there.then(|| str::from_utf8(text).unwrap_or_default())
    }

    /// Bytes that a document takes here.
    pub(super) fn size(&self, at: usize) -> usize {
        HEAD + self.head(at).room
    }

    /// Whether it is not in the file yet.
    pub(super) fn is_changed(&self, at: usize) -> bool {
        self.head(at).is_changed
    }

    /// Says whether it is in the file, and answers whether that is new.
    pub(super) fn mark(&mut self, at: usize, is_changed: bool) -> bool {
        let head = self.head(at);
        self.write_head(at, Head { is_changed, ..head });
        head.is_changed != is_changed
    }

    /// The document is elsewhere now: nothing can be written here.
    pub(super) fn leave(&mut self, at: usize) {
        let head = self.head(at);
        self.write_head(at, Head { room: 0, is_changed: false, ..head });
    }

    fn key_bytes(&self, at: usize) -> &[u8] {
        self.bytes_at(at + HEAD, self.head(at).key)
    }

    fn bytes_at(&self, at: usize, length: usize) -> &[u8] {
        self.bytes.get(at..at + length).unwrap_or_default()
    }

    fn head(&self, at: usize) -> Head {
        self.bytes.get(at..).and_then(Head::read).unwrap_or_default()
    }

    fn write_head(&mut self, at: usize, head: Head) {
        if let Some(bytes) = self.bytes.get_mut(at..) {
            head.write(bytes);
        }
    }
}

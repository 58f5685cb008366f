//! What strangers upload: whatever the bytes, an answer with a reason, and the others go on.

mod bytes;
mod compiling;
mod costly;
mod mass;
mod misfits;
mod table;

//! What a file holds, in pages that are shared until one of two is written to: thousands of images
//! of one disk take little more than one.

use std::io;
use std::sync::Arc;

const PAGE: usize = 4096;

/// The content of a file. Pages that were never written to are zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    len: usize,
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Pages {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn read(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        if at + out.len() > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let start = at % PAGE;
            let (part, after) = rest.split_at_mut(rest.len().min(PAGE - start));
            match self.pages.get(at / PAGE).and_then(Option::as_ref) {
                Some(page) => part.copy_from_slice(&page[start..start + part.len()]),
                None => part.fill(0),
            }
            at += part.len();
            rest = after;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, at: usize, data: &[u8]) {
        let (mut at, mut rest) = (at, data);
        while !rest.is_empty() {
            let start = at % PAGE;
            let (part, after) = rest.split_at(rest.len().min(PAGE - start));
            if self.pages.len() <= at / PAGE {
                self.pages.resize(at / PAGE + 1, None);
            }
            let page = self.pages[at / PAGE].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + part.len()].copy_from_slice(part);
            at += part.len();
            rest = after;
        }
        self.len = self.len.max(at);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.len {
            self.pages.truncate(len.div_ceil(PAGE));
            if !len.is_multiple_of(PAGE)
                && let Some(Some(page)) = self.pages.get_mut(len / PAGE)
            {
                Arc::make_mut(page)[len % PAGE..].fill(0);
            }
        }
        self.len = len;
    }
}

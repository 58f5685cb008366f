//! A live copy of a guest under check, used again from sample to sample: a fresh one for each was
//! the larger part of an activation. What calls leave behind shows, since the copies that are
//! compared were not called as often.

use std::cell::RefCell;

use crate::runtime::{Component, GuestError, Instance};

pub(super) struct Live<'a> {
    component: &'a Component,
    module: &'a str,
    idle: RefCell<Option<Instance>>,
}

impl<'a> Live<'a> {
    pub(super) fn new(component: &'a Component, module: &'a str) -> Self {
        Self { component, module, idle: RefCell::default() }
    }

    /// Makes a call in the copy that made the one before, or in a fresh one if that is spent.
    pub(super) fn call<T>(&self, call: impl FnOnce(&mut Instance) -> T) -> Result<T, GuestError> {
        let mut instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.component.instantiate(self.module)?,
        };
        let answer = call(&mut instance);
        if !instance.is_spent() {
            self.idle.replace(Some(instance));
        }
        Ok(answer)
    }

    /// Whether the next call is made in the same copy as the last.
    pub(super) fn is_live(&self) -> bool {
        self.idle.borrow().is_some()
    }
}

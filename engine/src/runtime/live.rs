//! A live copy of a guest for call after call, replaced when it is spent.

use super::{Component, GuestError, Instance};

/// Makes each call in the copy that made the one before, as long as that may go on.
#[derive(Debug)]
pub struct Live {
    component: Component,
    module: String,
    idle: Option<Instance>,
}

impl Live {
    /// Copies of a component, for a module of that name. The first is made for the first call.
    #[must_use]
    pub fn new(component: &Component, module: &str) -> Self {
        Self { component: component.clone(), module: module.to_owned(), idle: None }
    }

    /// Makes a call. One that failed, made as many calls as it may, or has grown is gone after it.
    ///
    /// # Errors
    /// [`GuestError`] when there is no copy and none can be made.
    pub fn call<T>(&mut self, call: impl FnOnce(&mut Instance) -> T) -> Result<T, GuestError> {
        let mut instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.component.instantiate(&self.module)?,
        };
        let answer = call(&mut instance);
        self.idle = Some(instance).filter(|instance| !instance.is_spent());
        Ok(answer)
    }

    /// Whether the next call is made in the same copy as the last.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.idle.is_some()
    }

    /// Lets the next call be made in a fresh copy.
    pub fn forget(&mut self) {
        self.idle = None;
    }
}

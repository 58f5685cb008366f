//! The derives of `factum-sdk`: they give an enum's variants the names under which commands and
//! events travel.
//!
//! They only name variants. How data is read and written is serde's business, so every serde
//! attribute on a field means what it always means.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod command;
mod event;
mod variants;

/// Names each variant as a command: the `snake_case` of the variant, or
/// `#[command(name = "other_name")]`.
#[proc_macro_derive(Command, attributes(command))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    command::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Names each variant as an event type: the variant as it is written, schema version 1, or
/// `#[event(type = "other.name", version = 2)]`.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

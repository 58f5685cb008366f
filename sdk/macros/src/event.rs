//! `#[derive(Event)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{DeriveInput, Error, LitInt, LitStr, Result, Variant};

use crate::variants;

/// The name and schema version of one variant.
#[derive(PartialEq)]
struct Type {
    name: String,
    version: u32,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let variants = variants::parse(input, "Event")?;
    let types = variants.iter().map(type_of).collect::<Result<Vec<_>>>()?;
    variants::refuse_duplicates(&types, variants, |Type { name, version }| {
        format!("the event type `{name}`, version {version},")
    })?;

    let ident = &input.ident;
    let idents = variants.iter().map(|variant| &variant.ident);
    let types: Vec<TokenStream> = types
        .iter()
        .map(|Type { name, version }| {
            quote! { ::factum_sdk::EventType { name: #name, schema_version: #version } }
        })
        .collect();
    Ok(quote! {
        #[automatically_derived]
        impl ::factum_sdk::Event for #ident {
            const TYPES: &'static [::factum_sdk::EventType] = &[#(#types),*];

            fn event_type(&self) -> ::factum_sdk::EventType {
                match self {
                    #(Self::#idents { .. } => #types,)*
                }
            }
        }
    })
}

fn type_of(variant: &Variant) -> Result<Type> {
    let mut name = variant.ident.unraw().to_string();
    let mut version = 1;
    for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("type") {
                let literal: LitStr = meta.value()?.parse()?;
                name = literal.value();
                check_name(&literal)
            } else if meta.path.is_ident("version") {
                let literal: LitInt = meta.value()?.parse()?;
                version = literal.base10_parse()?;
                check_version(version, &literal)
            } else {
                Err(meta.error("expected `type = \"...\"` or `version = n`"))
            }
        })?;
    }
    Ok(Type { name, version })
}

fn check_name(literal: &LitStr) -> Result<()> {
    let name = literal.value();
    let fits = (1..=256).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let message = "an event type is 1 to 256 visible characters without surrounding space";
    Err(Error::new(literal.span(), message))
}

fn check_version(version: u32, literal: &LitInt) -> Result<()> {
    if version > 0 {
        return Ok(());
    }
    Err(Error::new(literal.span(), "schema versions count from 1"))
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::derive;

    fn refusal(input: &syn::DeriveInput) -> String {
        let Err(error) = derive(input) else { panic!("the derive must refuse this") };
        error.to_string()
    }

    #[test]
    fn what_cannot_be_an_event_is_refused_with_a_reason() {
        assert!(refusal(&parse_quote! { struct S; }).contains("needs an enum"));
        assert!(refusal(&parse_quote! { enum E { #[event(type = " a")] A } }).contains("visible"));
        assert!(refusal(&parse_quote! { enum E { #[event(version = 0)] A } }).contains("from 1"));
        assert!(refusal(&parse_quote! { enum E { #[event(name = "a")] A } }).contains("type ="));
        assert!(refusal(&parse_quote! { enum E { #[serde(skip)] A } }).contains("serde(skip)"));
    }

    #[test]
    fn one_type_may_have_several_versions_but_each_only_once() {
        let two = parse_quote! { enum E { #[event(type = "B")] A, #[event(version = 2)] B } };
        assert!(derive(&two).is_ok());
        let same = parse_quote! { enum E { #[event(type = "B")] A, B } };
        assert!(refusal(&same).contains("`B`, version 1, is already taken"));
    }
}

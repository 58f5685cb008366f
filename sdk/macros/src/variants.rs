//! What both derives ask of an enum: no generics, and variants that are a unit, one value or named
//! fields, read by serde in its default, externally tagged form.
//!
//! Every refusal points at the piece of source that has to change.

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Meta, Result, Token, Variant};

/// Serde attributes under which a variant's place no longer identifies it.
const REFUSED_ON_ENUM: [&str; 7] =
    ["tag", "content", "untagged", "from", "try_from", "into", "variant_identifier"];
const REFUSED_ON_VARIANT: [&str; 5] =
    ["skip", "skip_serializing", "skip_deserializing", "other", "untagged"];

/// The enum's variants, or why `derive` cannot be used on it.
pub(crate) fn parse<'a>(
    input: &'a DeriveInput,
    derive: &str,
) -> Result<&'a Punctuated<Variant, Token![,]>> {
    let Data::Enum(data) = &input.data else {
        let message = format!("derive({derive}) needs an enum with one variant for each");
        return Err(Error::new(input.ident.span(), message));
    };
    if !input.generics.params.is_empty() {
        let message = format!("derive({derive}) does not support generics");
        return Err(Error::new(input.generics.span(), message));
    }
    if data.variants.is_empty() {
        let message = format!("derive({derive}) needs at least one variant");
        return Err(Error::new(input.ident.span(), message));
    }
    refuse_serde(&input.attrs, &REFUSED_ON_ENUM)?;
    for variant in &data.variants {
        refuse_serde(&variant.attrs, &REFUSED_ON_VARIANT)?;
        if matches!(&variant.fields, Fields::Unnamed(fields) if fields.unnamed.len() != 1) {
            let message = "use named fields, one value or none: data is a JSON object";
            return Err(Error::new(variant.fields.span(), message));
        }
    }
    Ok(&data.variants)
}

fn refuse_serde(attributes: &[Attribute], refused: &[&str]) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let entries = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        for entry in &entries {
            if let Some(name) = refused.iter().find(|name| entry.path().is_ident(name)) {
                let message = format!("serde({name}) cannot be combined with this derive");
                return Err(Error::new(entry.span(), message));
            }
        }
    }
    Ok(())
}

/// Fails at the second of two variants whose keys are equal.
pub(crate) fn refuse_duplicates<K: PartialEq>(
    keys: &[K],
    variants: &Punctuated<Variant, Token![,]>,
    describe: impl Fn(&K) -> String,
) -> Result<()> {
    for (at, (key, variant)) in keys.iter().zip(variants).enumerate() {
        if keys.iter().take(at).any(|earlier| earlier == key) {
            let message = format!("{} is already taken by another variant", describe(key));
            return Err(Error::new(variant.ident.span(), message));
        }
    }
    Ok(())
}

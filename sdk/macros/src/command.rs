//! `#[derive(Command)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{DeriveInput, Error, LitStr, Result, Variant};

use crate::variants;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let variants = variants::parse(input, "Command")?;
    let names = variants.iter().map(name_of).collect::<Result<Vec<_>>>()?;
    variants::refuse_duplicates(&names, variants, |name| format!("the command name `{name}`"))?;

    let ident = &input.ident;
    let idents = variants.iter().map(|variant| &variant.ident);
    Ok(quote! {
        #[automatically_derived]
        impl ::factum_sdk::Command for #ident {
            const NAMES: &'static [&'static str] = &[#(#names),*];

            fn name(&self) -> &'static str {
                match self {
                    #(Self::#idents { .. } => #names,)*
                }
            }
        }
    })
}

fn name_of(variant: &Variant) -> Result<String> {
    let mut name = snake_case(&variant.ident.unraw().to_string());
    for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("command")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("expected `name = \"...\"`"));
            }
            let literal: LitStr = meta.value()?.parse()?;
            name = literal.value();
            if is_name(&name) {
                Ok(())
            } else {
                let message = "a command name is 1 to 63 of [a-z0-9_] and starts with a letter";
                Err(Error::new(literal.span(), message))
            }
        })?;
    }
    if is_name(&name) {
        Ok(name)
    } else {
        let message = format!("`{name}` is no command name; give one: #[command(name = \"...\")]");
        Err(Error::new(variant.ident.span(), message))
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `OpenAccount` becomes `open_account`, and `SendSMSNow` `send_sms_now`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut previous: Option<char> = None;
    let mut rest = name.chars().peekable();
    while let Some(current) = rest.next() {
        let starts_word = current.is_uppercase()
            && previous.is_some_and(|previous| {
                let ends_acronym = rest.peek().is_some_and(|next| next.is_lowercase());
                previous != '_' && (!previous.is_uppercase() || ends_acronym)
            });
        if starts_word {
            snake.push('_');
        }
        snake.extend(current.to_lowercase());
        previous = Some(current);
    }
    snake
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::{derive, snake_case};

    fn refusal(input: &syn::DeriveInput) -> String {
        let Err(error) = derive(input) else { panic!("the derive must refuse this") };
        error.to_string()
    }

    #[test]
    fn names_are_the_snake_case_of_variants() {
        assert_eq!(snake_case("Open"), "open");
        assert_eq!(snake_case("OpenAccount"), "open_account");
        assert_eq!(snake_case("SendSMSNow"), "send_sms_now");
        assert_eq!(snake_case("Close2Day"), "close2_day");
    }

    #[test]
    fn what_cannot_be_a_command_is_refused_with_a_reason() {
        assert!(refusal(&parse_quote! { struct S; }).contains("needs an enum"));
        assert!(refusal(&parse_quote! { enum E {} }).contains("at least one"));
        assert!(refusal(&parse_quote! { enum E<T> { A(T) } }).contains("generics"));
        assert!(refusal(&parse_quote! { enum E { A(u8, u8) } }).contains("named fields"));
        assert!(refusal(&parse_quote! { #[serde(tag = "t")] enum E { A } }).contains("serde(tag)"));
        assert!(refusal(&parse_quote! { enum E { #[command(name = "A")] A } }).contains("a-z"));
        assert!(refusal(&parse_quote! { enum E { #[command(title = "a")] A } }).contains("name ="));
    }

    #[test]
    fn two_variants_cannot_share_a_name() {
        let input = parse_quote! { enum E { Open, #[command(name = "open")] Reopen } };
        assert_eq!(refusal(&input), "the command name `open` is already taken by another variant");
    }
}

//! `#[derive(Object)]`: reads a struct from a JSON object, in a tenth of the code that serde's `Deserialize` makes.
//!
//! serde's derive can do more, and each struct pays for it: a parser of its field names, an optional copy of every
//! field, and a second way to read it from an array. Here a struct starts as its default and says only what its members
//! are called and where each is; one reader for all changes them where they stand.
//!
//! It understands serde's own attributes, so that `Serialize` beside it means the same: `default` (of the struct or of
//! fields; what has none and is no `Option` must be there), `rename_all`, and of fields `rename`, `alias`, `skip`,
//! `deserialize_with`, which names a function from the field to its `Place`. What only concerns serialisation is passed
//! over; everything else is an error.

use proc_macro::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Path, Result, Type};

/// See the crate's documentation.
#[proc_macro_derive(Object, attributes(serde))]
pub fn object(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    implement(&input).unwrap_or_else(|e| e.to_compile_error()).into()
}

fn implement(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "Object is for structs"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "Object is for structs with named fields"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "Object is for structs without parameters"));
    }
    let (case, has_default) = Case::of(input)?;
    let (mut names, mut firsts, mut required, mut arms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for field in &fields.named {
        let member = Member::of(field, case)?;
        if member.skip {
            continue;
        }
        let literal = proc_macro2::Literal::usize_unsuffixed;
        let index = literal(names.len());
        if !has_default && !member.has_default {
            required.push(index.clone());
        }
        firsts.extend(member.names.iter().map(|_| literal(names.len())));
        names.extend(member.names);
        let name = &field.ident;
        let place = match member.with {
            None => quote! { crate::utils::json::object::Member::place(&mut self.#name) },
            Some(with) => quote! { #with(&mut self.#name) },
        };
        arms.push(quote! { #index => #place });
    }
    let name = &input.ident;
    if names.len() > 256 {
        return Err(Error::new_spanned(name, "Object is for at most 256 names"));
    }
    Ok(quote! {
        impl crate::utils::json::object::Object for #name {
            fn names(&self) -> &'static crate::utils::json::object::Names {
                &crate::utils::json::object::Names {
                    all: &[#(#names),*],
                    firsts: &[#(#firsts),*],
                    required: &[#(#required),*],
                }
            }

            fn member(&mut self, index: usize) -> crate::utils::json::object::Place<'_> {
                match index {
                    #(#arms,)*
                    _ => crate::utils::json::object::Place::Ignored,
                }
            }
        }

        impl crate::utils::json::object::Member for #name {
            fn place(&mut self) -> crate::utils::json::object::Place<'_> {
                crate::utils::json::object::Place::Object(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for #name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> ::core::result::Result<#name, D::Error> {
                crate::utils::json::object::read(d)
            }
        }
    })
}

/// How the names of fields are written in JSON.
#[derive(Clone, Copy)]
enum Case {
    Snake,
    Camel,
    Pascal,
    Kebab,
}

impl Case {
    /// And whether the struct has a default for every member.
    fn of(input: &DeriveInput) -> Result<(Case, bool)> {
        let (mut case, mut has_default) = (Case::Snake, false);
        for attribute in input.attrs.iter().filter(|a| a.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("default") {
                    has_default = true;
                    return Ok(());
                }
                if !meta.path.is_ident("rename_all") {
                    return Err(meta.error("Object knows default and rename_all"));
                }
                let name: LitStr = meta.value()?.parse()?;
                case = match name.value().as_str() {
                    "snake_case" | "lowercase" => Case::Snake,
                    "camelCase" => Case::Camel,
                    "PascalCase" => Case::Pascal,
                    "kebab-case" => Case::Kebab,
                    _ => return Err(Error::new_spanned(&name, "Object does not know this case")),
                };
                Ok(())
            })?;
        }
        Ok((case, has_default))
    }

    fn apply(self, name: &str) -> String {
        let capitals = |from: usize| {
            let words = name.split('_').enumerate().map(|(n, word)| match word.split_at_checked(1) {
                Some((first, rest)) if n >= from => first.to_ascii_uppercase() + rest,
                _ => word.to_owned(),
            });
            words.collect()
        };
        match self {
            Case::Snake => name.to_owned(),
            Case::Camel => capitals(1),
            Case::Pascal => capitals(0),
            Case::Kebab => name.replace('_', "-"),
        }
    }
}

struct Member {
    /// Its name, and further ones that are read as well.
    names: Vec<String>,
    skip: bool,
    with: Option<Path>,
    /// It may be missing.
    has_default: bool,
}

impl Member {
    fn of(field: &Field, case: Case) -> Result<Member> {
        let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut member = Member {
            names: vec![case.apply(name.trim_start_matches("r#"))],
            skip: false,
            with: None,
            has_default: matches!(&field.ty, Type::Path(kind) if kind.path.segments[0].ident == "Option"),
        };
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| member.learn(&meta))?;
        }
        Ok(member)
    }

    fn learn(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let text = || meta.value()?.parse::<LitStr>();
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "rename" => self.names[0] = text()?.value(),
            "default" => self.has_default = true,
            "alias" => self.names.push(text()?.value()),
            "skip" | "skip_deserializing" => self.skip = true,
            "deserialize_with" => self.with = Some(text()?.parse()?),
            "skip_serializing" => {}
            "skip_serializing_if" | "serialize_with" => drop(text()?),
            _ => return Err(meta.error("Object does not know this attribute")),
        }
        Ok(())
    }
}

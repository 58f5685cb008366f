//! What the author of a query writes, for what indexes and filters cannot say.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rows::Stored;
use crate::{Document, Fault, Projection};

/// Most documents that one look answers.
const SCAN: u32 = 1_000;

/// A question about the documents of a projection, with its parameters as fields. It sees them as
/// they are at one moment and changes nothing.
///
/// ```
/// # use factum_sdk::prelude::*;
/// # #[derive(Event, Deserialize, Serialize)] enum Sold { Sold { item: String } }
/// # #[derive(Default, Deserialize, Serialize)] struct Sales { count: u64 }
/// # impl Document for Sales { const COLLECTION: Collection = Collection::new("sales"); }
/// # struct AllSales;
/// # impl Projection for AllSales {
/// #     const NAME: &'static str = "all_sales";
/// #     const COLLECTIONS: &'static [Collection] = &[Sales::COLLECTION];
/// #     type Event = Sold;
/// #     fn project(_: &Recorded<Sold>, _: &mut Rows) -> Result<(), Fault> { Ok(()) }
/// # }
/// #[derive(Deserialize)]
/// struct Share { item: String }
///
/// impl Query for Share {
///     const NAME: &'static str = "share";
///     type Projection = AllSales;
///     type Answer = f64;
///
///     fn answer(self, documents: &Documents) -> Result<f64, Fault> {
///         let (mut all, mut of_item) = (0, 0);
///         for found in documents.iter::<Sales>("") {
///             let (key, sales) = found?;
///             all += sales.count;
///             of_item += if key == self.item { sales.count } else { 0 };
///         }
///         Ok(of_item as f64 / all as f64)
///     }
/// }
/// ```
pub trait Query: DeserializeOwned + 'static {
    /// The query's name, unique in its projection.
    const NAME: &'static str;
    /// Whose documents it asks.
    type Projection: Projection;
    /// What it answers.
    type Answer: Serialize;

    /// Answers it. A fault tells the caller what is wrong with the parameters.
    fn answer(self, documents: &Documents) -> Result<Self::Answer, Fault>;
}

/// The documents of a projection at one moment.
#[derive(Debug)]
pub struct Documents {
    stored: Stored,
}

impl Documents {
    pub(crate) fn new(stored: Stored) -> Self {
        Self { stored }
    }

    /// The document under `key`, if there is one.
    pub fn get<D: Document>(&self, key: &str) -> Result<Option<D>, Fault> {
        let json = self.stored.get_many(D::COLLECTION.name(), &[key.to_owned()]).pop().flatten();
        json.map(|json| read(key, &json)).transpose()
    }

    /// The documents whose keys begin with `prefix`, in the order of their keys; all for an empty
    /// one. They are fetched as they are asked for.
    pub fn iter<D: Document>(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, D), Fault>> {
        let (mut after, mut is_over) = (None::<String>, false);
        let pages = std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let page = self.stored.scan(D::COLLECTION.name(), prefix, after.as_deref(), SCAN);
            is_over = page.len() < usize::try_from(SCAN).unwrap_or(usize::MAX);
            after = page.last().map(|(key, _)| key.clone());
            Some(page)
        });
        pages.flatten().map(|(key, json)| {
            let document = read(&key, &json)?;
            Ok((key, document))
        })
    }
}

fn read<D: Document>(key: &str, json: &str) -> Result<D, Fault> {
    serde_json::from_str(json).map_err(|error| {
        let collection = D::COLLECTION.name();
        Fault::new(format!("document `{key}` of `{collection}` does not fit: {error}"))
    })
}

//! Ten projections that do the same: count the deposits of each stream.

use factum_sdk::prelude::*;

const NAMES: [&str; 10] = [
    "deposits_0",
    "deposits_1",
    "deposits_2",
    "deposits_3",
    "deposits_4",
    "deposits_5",
    "deposits_6",
    "deposits_7",
    "deposits_8",
    "deposits_9",
];

#[derive(Event, Deserialize, Serialize)]
pub(crate) enum Deposit {
    Deposited {},
}

#[derive(Default, Deserialize, Serialize)]
struct Deposits<const N: usize> {
    count: u64,
}

impl<const N: usize> Document for Deposits<N> {
    const COLLECTION: Collection = Collection::new(NAMES[N]);
}

pub(crate) struct Of<const N: usize>;

impl<const N: usize> Projection for Of<N> {
    const NAME: &'static str = NAMES[N];
    const COLLECTIONS: &'static [Collection] = &[Deposits::<N>::COLLECTION];
    const PARTITION: Option<Partition> = Some(Partition::Stream);
    type Event = Deposit;

    fn project(recorded: &Recorded<Deposit>, rows: &mut Rows) -> Result<(), Fault> {
        rows.update(key(recorded), |row: &mut Deposits<N>| row.count += 1)
    }

    fn prefetch(recorded: &Recorded<Deposit>, documents: &mut Prefetch) {
        documents.read::<Deposits<N>>(key(recorded));
    }
}

fn key(recorded: &Recorded<Deposit>) -> &str {
    recorded.id().unwrap_or("none")
}

factum_sdk::module! {
    name: "counting",
    version: "2.0.0",
    projections: [
        Of<0>, Of<1>, Of<2>, Of<3>, Of<4>, Of<5>, Of<6>, Of<7>, Of<8>, Of<9>,
    ],
}

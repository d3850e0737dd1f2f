//! Many rows in few statements.

use sqlx::QueryBuilder;
use sqlx::query_builder::Separated;

use super::{Conn, Db};
use crate::store::Result;

/// The most rows of one statement.
const LARGEST: usize = 128;

/// Cuts rows into pieces whose lengths are powers of two, so that few distinct statements are cached.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut size = LARGEST;
        while size > rows.len() {
            size /= 2;
        }
        if size == 0 {
            return None;
        }
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// `before VALUES (…), (…) after`, in as few statements as [`pieces`] allows. Answers the affected rows.
pub(crate) async fn insert<T, F>(
    c: &mut Conn,
    before: &str,
    rows: &[T],
    after: &str,
    mut bind: F,
) -> Result<u64>
where
    F: FnMut(&mut Separated<'_, Db, &'static str>, &T),
{
    let mut affected = 0;
    for piece in pieces(rows) {
        let mut builder: QueryBuilder<Db> = QueryBuilder::new(before);
        builder.push(" ");
        builder.push_values(piece, |mut row, item| bind(&mut row, item));
        builder.push(" ");
        builder.push(after);
        affected += builder.build().execute(&mut *c).await?.rows_affected();
    }
    Ok(affected)
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_are_powers_of_two_and_lose_nothing() {
        for n in [0usize, 1, 2, 3, 100, 127, 128, 129, 1000] {
            let rows: Vec<usize> = (0..n).collect();
            let mut back = Vec::new();
            for piece in pieces(&rows) {
                assert!(piece.len().is_power_of_two() && piece.len() <= 128);
                back.extend_from_slice(piece);
            }
            assert_eq!(back, rows);
        }
    }
}

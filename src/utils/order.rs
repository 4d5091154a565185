//! Sorting, and ordered collections of what an iterator gives. The standard library's sort is five kilobytes for every
//! type and order, and `collect` into an ordered map or set brings one too. Here one sort, of places, serves all types.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts in the type's own order. Equals keep theirs, here and below.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::cmp);
}

/// Sorts by what `key` makes of each element.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |a, b| key(a).cmp(&key(b)));
}

/// Sorts in this order.
pub fn sort_by<T>(list: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
    let mut sources: Vec<usize> = (0..list.len()).collect();
    sort_places(&mut sources, &|a, b| order(&list[a], &list[b]));
    // Every place takes its element from its source, along each cycle until that comes back to its start.
    for start in 0..list.len() {
        let mut place = start;
        loop {
            let source = std::mem::replace(&mut sources[place], place);
            if source == start {
                break;
            }
            list.swap(place, source);
            place = source;
        }
    }
}

fn sort_places(places: &mut [usize], order: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|a, b| order(*a, *b));
}

/// Collects a map. Of equal keys the last one counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// As [`map`], up to the first error.
///
/// # Errors
/// That one.
pub fn try_map<K: Ord, V, E>(pairs: impl IntoIterator<Item = Result<(K, V), E>>) -> Result<BTreeMap<K, V>, E> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair?;
        map.insert(key, value);
    }
    Ok(map)
}

/// Collects a set.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_sorts() {
        let mut state = 1u32;
        for length in (0..40).chain([1000]) {
            let list: Vec<(u32, usize)> = (0..length)
                .map(|n| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24 & 15, n)
                })
                .collect();
            let (mut ours, mut theirs) = (list.clone(), list);
            sort_by_key(&mut ours, |(n, _)| *n);
            theirs.sort_by_key(|(n, _)| *n);
            assert_eq!(ours, theirs);
            sort_by(&mut ours, |a, b| b.cmp(a));
            theirs.sort_by(|a, b| b.cmp(a));
            assert_eq!(ours, theirs);
            sort(&mut ours);
            theirs.sort();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn collections() {
        assert_eq!(map([(2, 'a'), (1, 'b'), (2, 'c')]), BTreeMap::from([(1, 'b'), (2, 'c')]));
        assert_eq!(try_map([Ok((1, 'a')), Err("first"), Err("second")]), Err("first"));
        assert_eq!(try_map::<_, _, ()>([Ok((1, 'a')), Ok((1, 'b'))]), Ok(BTreeMap::from([(1, 'b')])));
        assert_eq!(set([3, 1, 3]), BTreeSet::from([1, 3]));
    }
}

//! Pages of sorted lists.
//!
//! A token holds the last key of its page, not a position: what is added or removed meanwhile neither repeats nor
//! hides an item. It is bound to the request it came from, so a token of another list or other filters is refused.

use super::error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest page of most lists, and the size of one when the request does not say.
pub(super) const PAGE: usize = 100;
/// A token is some hundred bytes; more is not ours.
const TOKEN_LIMIT: usize = 4096;

/// The part of a request that is about pages.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageRequest {
    pub(super) max_results: Option<i64>,
    pub(super) next_token: Option<String>,
}

/// One page, and the token of the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<K> {
    pub(super) keys: Vec<K>,
    pub(super) next_token: Option<String>,
}

/// Which way a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl PageRequest {
    /// The page of `keys` (in any order) that is asked for. `scope` is the operation and everything it filters by.
    pub(super) fn page<K: Ord + Serialize + DeserializeOwned>(
        &self,
        scope: &impl Serialize,
        mut keys: Vec<K>,
        order: Order,
        limit: usize,
    ) -> Result<Page<K>, ApiError> {
        let (size, seal) = (self.size(limit)?, seal(scope)?);
        let after: Option<K> = self.after(&seal)?;
        let follows = |key: &K| match (&after, order) {
            (None, _) => true,
            (Some(last), Order::Ascending) => key > last,
            (Some(last), Order::Descending) => key < last,
        };
        keys.retain(follows);
        keys.sort_unstable();
        if order == Order::Descending {
            keys.reverse();
        }
        cut(keys, size, &seal)
    }

    /// The page of the keys that `from` gives in ascending order, from the one after the given on. No more of them are
    /// looked at than the page needs.
    pub(super) fn scan<K: Serialize + DeserializeOwned, I: Iterator<Item = K>>(
        &self,
        scope: &impl Serialize,
        limit: usize,
        from: impl FnOnce(Option<&K>) -> I,
    ) -> Result<Page<K>, ApiError> {
        let (size, seal) = (self.size(limit)?, seal(scope)?);
        let after: Option<K> = self.after(&seal)?;
        cut(from(after.as_ref()).take(size + 1).collect(), size, &seal)
    }

    fn size(&self, limit: usize) -> Result<usize, ApiError> {
        let Some(asked) = self.max_results else { return Ok(limit) };
        let size = usize::try_from(asked).ok().filter(|n| (1..=limit).contains(n));
        size.ok_or_else(|| ApiError::invalid(format!("maxResults must be between 1 and {limit}.")))
    }

    /// The last key of the page before.
    fn after<K: DeserializeOwned>(&self, seal: &str) -> Result<Option<K>, ApiError> {
        match self.next_token.as_deref().filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(token) => open(token, seal).map(Some),
        }
    }
}

/// As many keys as a page has, and a token when there are more.
fn cut<K: Serialize>(mut keys: Vec<K>, size: usize, seal: &str) -> Result<Page<K>, ApiError> {
    let more = keys.len() > size;
    keys.truncate(size);
    let next_token = match keys.last() {
        Some(last) if more => Some(token(last, seal)?),
        _ => None,
    };
    Ok(Page { keys, next_token })
}

/// Ties a token to what it was made for.
fn seal(scope: &impl Serialize) -> Result<String, ApiError> {
    let text = serde_json::to_vec(scope).map_err(|e| ApiError::invalid(e.to_string()))?;
    let hash = digest::digest(&digest::SHA256, &text);
    Ok(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12]))
}

fn token<K: Serialize>(last: &K, seal: &str) -> Result<String, ApiError> {
    let text = serde_json::to_vec(&(seal, last)).map_err(|e| ApiError::invalid(e.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(text))
}

fn open<K: DeserializeOwned>(token: &str, seal: &str) -> Result<K, ApiError> {
    let invalid = || ApiError::invalid("Invalid token");
    if token.len() > TOKEN_LIMIT {
        return Err(invalid());
    }
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let (found, last): (String, K) = serde_json::from_slice(&text).map_err(|_| invalid())?;
    if found == seal { Ok(last) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Bound;

    fn all_pages(keys: &[u32], size: i64, order: Order) -> Vec<u32> {
        let (mut seen, mut next_token) = (Vec::new(), None);
        loop {
            let request = PageRequest { max_results: Some(size), next_token };
            let page = request.page(&"scope", keys.to_vec(), order, PAGE).unwrap();
            assert!(page.keys.len() <= usize::try_from(size).unwrap());
            seen.extend(page.keys);
            match page.next_token {
                None => return seen,
                token => next_token = token,
            }
        }
    }

    proptest! {
        #[test]
        fn pages_together_are_the_list(
            keys in prop::collection::btree_set(any::<u32>(), 0..40), size in 1..=100_i64
        ) {
            let mut keys: Vec<u32> = keys.into_iter().collect();
            prop_assert_eq!(all_pages(&keys, size, Order::Ascending), keys.clone());
            let shuffled = keys.clone();
            keys.reverse();
            prop_assert_eq!(all_pages(&shuffled, size, Order::Descending), keys);
        }

        #[test]
        fn pages_of_a_scan_together_are_the_list(
            keys in prop::collection::btree_set(any::<u32>(), 0..40), size in 1..=100_i64
        ) {
            let (mut seen, mut next_token) = (Vec::new(), None);
            loop {
                let request = PageRequest { max_results: Some(size), next_token };
                let from = |after: Option<&u32>| {
                    let after = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after));
                    keys.range((after, Bound::Unbounded)).copied()
                };
                let page = request.scan(&"scope", PAGE, from).unwrap();
                prop_assert!(page.keys.len() <= usize::try_from(size).unwrap());
                seen.extend(page.keys);
                match page.next_token {
                    None => break,
                    token => next_token = token,
                }
            }
            prop_assert_eq!(seen, keys.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_text_is_taken_for_a_token(token in ".{1,40}") {
            let request = PageRequest { max_results: None, next_token: Some(token) };
            let error = request.page(&"scope", vec![1], Order::Ascending, PAGE).unwrap_err();
            prop_assert_eq!(error.message, "Invalid token");
        }
    }

    #[test]
    fn a_token_is_good_for_its_own_list_only() {
        let first = PageRequest { max_results: Some(1), next_token: None };
        let page = first.page(&"a", vec![1, 2], Order::Ascending, PAGE).unwrap();
        let next = PageRequest { max_results: Some(1), next_token: page.next_token };
        assert_eq!(next.page(&"a", vec![1, 2], Order::Ascending, PAGE).unwrap().keys, [2]);
        assert!(next.page(&"b", vec![1, 2], Order::Ascending, PAGE).is_err());
        assert!(
            next.page(
                &"a",
                ["1", "2"].iter().map(ToString::to_string).collect::<Vec<String>>(),
                Order::Ascending,
                PAGE
            )
            .is_err()
        );
    }

    #[test]
    fn the_size_is_bounded() {
        for size in [0, -1, 101] {
            let request = PageRequest { max_results: Some(size), next_token: None };
            assert!(request.page(&"s", vec![1], Order::Ascending, PAGE).is_err(), "{size}");
        }
    }
}

//! Who is served, and how much of it each may have at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Places for so many at once, of which one address has no more than its share.
#[derive(Debug)]
pub struct Guests {
    all: usize,
    each: usize,
    present: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A place among the guests, given back when dropped.
#[derive(Debug)]
pub struct Place {
    guests: Arc<Guests>,
    /// Whose it is.
    pub address: IpAddr,
}

impl Guests {
    /// `all` places, `each` of which one address may have.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, present: Mutex::default() })
    }

    /// A place for `address`, if there is one.
    #[must_use]
    pub fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: usize = present.values().sum();
        let own = present.get(&address).copied().unwrap_or_default();
        if own >= self.each || taken >= self.all {
            return None;
        }
        present.insert(address, own + 1);
        Some(Place { guests: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.guests.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = present.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                present.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn no_guest_takes_the_place_of_others() {
        let guests = Guests::new(20, 4);
        let address = |n: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let mut of_one: Vec<_> = std::iter::from_fn(|| guests.place(address(1))).collect();
        assert_eq!(of_one.len(), 4);
        let _other = guests.place(address(2)).unwrap();
        of_one.pop();
        of_one.push(guests.place(address(1)).unwrap());
        let all: Vec<_> = (3..).map_while(|n| guests.place(address(n))).collect();
        assert_eq!(of_one.len() + 1 + all.len(), 20);
        drop((of_one, all));
        assert_eq!(guests.present.lock().unwrap().len(), 1, "who has gone is forgotten");
    }
}

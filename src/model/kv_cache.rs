//! Keys and values of past positions, preallocated for a batch of rows that all write the same column.
//!
//! Shape legend: B batch, K key-value heads, S capacity in columns, D width of a head.

use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;

/// One (keys, values) pair a layer, each `[B, K, S, D]`; the first `filled` columns are in use.
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    filled: i64,
}

/// One layer's part of a cache during a forward pass.
pub struct LayerCache<'a> {
    keys: &'a mut Tensor,
    values: &'a mut Tensor,
    filled: i64,
}

impl KvCache {
    /// An empty cache for `batch` rows and `capacity` columns, of the kind of the model's hidden states.
    pub fn new(
        config: &ModelConfig,
        batch: i64,
        capacity: i64,
        (kind, device): (Kind, Device),
    ) -> Self {
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
        let empty = || Tensor::zeros(shape, (kind, device));
        Self {
            layers: (0..config.num_hidden_layers)
                .map(|_| (empty(), empty()))
                .collect(),
            filled: 0,
        }
    }

    /// Columns in use.
    pub fn filled(&self) -> i64 {
        self.filled
    }

    /// Row `i` of the result is row `rows[i]` of this cache: forks a prefix, or drops finished rows.
    pub fn select(&self, rows: &Tensor) -> Self {
        let layers = self
            .layers
            .iter()
            .map(|(k, v)| (k.index_select(0, rows), v.index_select(0, rows)))
            .collect();
        Self {
            layers,
            filled: self.filled,
        }
    }

    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = LayerCache<'_>> {
        let filled = self.filled;
        self.layers
            .iter_mut()
            .map(move |(keys, values)| LayerCache {
                keys,
                values,
                filled,
            })
    }

    pub(super) fn advance(&mut self, columns: i64) {
        self.filled += columns;
    }
}

impl LayerCache<'_> {
    /// Writes keys and values `[B, K, T, D]` behind the filled columns and returns views of all columns so far.
    pub(super) fn append(self, keys: &Tensor, values: &Tensor) -> (Tensor, Tensor) {
        let added = keys.size()[2];
        for (store, fresh) in [(&mut *self.keys, keys), (&mut *self.values, values)] {
            store.narrow(2, self.filled, added).copy_(fresh);
        }
        let total = self.filled + added;
        (
            self.keys.narrow(2, 0, total),
            self.values.narrow(2, 0, total),
        )
    }
}

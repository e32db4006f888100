"""The networks of the public code rebuilt in Keras 3 from its layer table, as an oracle.

Tensors are (N, Y, X, Z, C), kernels (y, x, z).
"""

import keras
import numpy as np
from keras import layers, ops


class KerasContribInstanceNorm(layers.Layer):
    """keras_contrib's InstanceNormalization with axis=None."""

    def build(self, _shape):
        self.gamma = self.add_weight(shape=(1,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(1,), initializer="zeros", name="beta")

    def call(self, x):
        axes = (1, 2, 3, 4)
        deviation = ops.std(x, axis=axes, keepdims=True) + 1e-3
        return (x - ops.mean(x, axis=axes, keepdims=True)) / deviation * self.gamma + self.beta


class ResizeThenRepeat(layers.Layer):
    """The public code's own resize: nearest in rows and columns, then slices repeated."""

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = sizes

    def call(self, x):
        _, rows, columns, depth, channels = x.shape
        plane = ops.reshape(x, (-1, rows, columns, depth * channels))
        size = (rows * self.sizes[0], columns * self.sizes[1])
        plane = ops.image.resize(plane, size, interpolation="nearest", data_format="channels_last")
        return ops.repeat(ops.reshape(plane, (-1, *size, depth, channels)), self.sizes[2], axis=3)


def norm_layer(kind):
    return KerasContribInstanceNorm() if kind == "keras" else layers.GroupNormalization(groups=-1, epsilon=1e-5)


def resize_layer(kind, sizes):
    return layers.UpSampling3D(sizes) if kind == "upsampling" else ResizeThenRepeat(sizes)


def generator(gf, norm, resize, shape=(256, 256, 16)):
    def down(x, filters, z, normalise=True):
        x = layers.Conv3D(filters, (4, 4, z), strides=(2, 2, z), padding="same")(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        return norm_layer(norm)(x) if normalise else x

    def up(x, skip, filters, z):
        x = resize_layer(resize, (2, 2, z))(x)
        x = layers.Conv3D(filters, (4, 4, z), padding="same", activation="relu")(x)
        x = layers.Concatenate()([norm_layer(norm)(x), skip])
        return layers.Activation("relu")(x)

    image = layers.Input((*shape, 3))
    e1 = down(image, gf, 2, normalise=False)
    e2 = down(e1, gf * 2, 2)
    e3 = down(e2, gf * 4, 2)
    e4 = down(e3, gf * 8, 2)
    e5 = down(e4, gf * 8, 1)
    e6 = down(e5, gf * 8, 1)
    e7 = down(e6, gf * 8, 1)
    x = up(e7, e6, gf * 8, 1)
    x = up(x, e5, gf * 8, 1)
    x = up(x, e4, gf * 8, 1)
    x = up(x, e3, gf * 4, 2)
    x = up(x, e2, gf * 2, 2)
    x = up(x, e1, gf, 2)
    x = resize_layer(resize, (2, 2, 2))(x)
    return keras.Model(image, layers.Conv3D(3, (4, 4, 2), padding="same", activation="tanh")(x))


def discriminator(df, norm, shape=(256, 256, 16)):
    target, condition = layers.Input((*shape, 3)), layers.Input((*shape, 3))
    x = layers.Concatenate()([target, condition])
    for filters, stride, z in ((df, 2, 2), (df * 2, 2, 2), (df * 4, 2, 2), (df * 8, 1, 1)):
        x = layers.Conv3D(filters, (4, 4, z), strides=(stride, stride, z), padding="same")(x)
        x = norm_layer(norm)(layers.LeakyReLU(negative_slope=0.2)(x))
    return keras.Model([target, condition], layers.Conv3D(1, (4, 4, 1), padding="same", activation="sigmoid")(x))


def randomise(model, seed=0):
    """Weights large enough that every layer shows in the output."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        scale = 1 / np.sqrt(np.prod(weight.shape[:-1])) if len(weight.shape) == 5 else 0.2
        offset = 1.0 if "gamma" in weight.name else 0.0
        weight.assign(offset + scale * rng.standard_normal(weight.shape))


def parameters_in_order(model):
    """Convolution kernels as (out, in, z, y, x), biases, gammas and betas, in the order of the forward pass.

    Keras lists the layers of a graph by depth; with one path of weighted layers that is the order of the pass.
    """
    found = []
    for layer in model.layers:
        for weight in layer.weights:
            value = weight.value.detach().numpy()
            found.append(value.transpose(4, 3, 2, 0, 1) if value.ndim == 5 else value)
    return found

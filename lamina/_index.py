"""Which file has which name, so that a file is read when one of its names is first wanted.

Most programs use few of the layers, operations and kernels, and a file that is not read costs no time when a program starts.
The names are said by the files themselves (``__all__`` of reference kernels, the mark ``fast`` of oneDNN kernels, the
tuples at the end of operations, what a package imports under ``if TYPE_CHECKING``). ``python tests/write_index.py``
gathers them here, and a test compares.
"""

from __future__ import annotations

# Kernels: lamina/engine/reference/
REFERENCE = {
    "activation": (
        "gelu gelu_backward glu glu_backward log_sigmoid log_sigmoid_backward log_softmax log_softmax_backward mish "
        "mish_backward sigmoid sigmoid_backward silu silu_backward softmax softmax_backward softplus softplus_backward "
        "tanh tanh_backward"
    ),
    "attention": "attention attention_backward",
    "bessel": (
        "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 i0 i0e i1 i1e modified_bessel_k0 modified_bessel_k1 "
        "scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0"
    ),
    "conv": "conv conv_arrange conv_backward_bias conv_backward_input conv_backward_weight conv_fused",
    "ctc": "ctc ctc_backward",
    "decomposition": "cholesky cofactors eigh inv pinv qr slogdet solve solve_triangular svd",
    "distance": "cosine_similarity cosine_similarity_backward pdist pdist_backward",
    "embedding": "embedding embedding_backward embedding_bag embedding_bag_max embedding_renorm",
    "factorization": "cholesky_steps eig ldl_factor ldl_solve lu_factor pivots_to_permutation",
    "fft": "fft_c2c fft_c2r fft_r2c",
    "fold": "fold unfold",
    "gamma": "digamma igamma igammac lgamma polygamma standard_gamma_grad zeta",
    "grid": "grid_correlate grid_sample grid_spread grid_taps grid_taps_backward",
    "indexing": (
        "copy fill gather index index_add index_copy index_put index_select masked_fill nonzero one_hot scatter "
        "scatter_add scatter_reduce"
    ),
    "join": "block_diag cat stack",
    "layernorm": "group_norm group_norm_backward layer_norm layer_norm_backward rms_norm rms_norm_backward window_sum",
    "linalg": "cdist_mm cross dot linear matmul",
    "loss": "class_rows class_rows_backward cross_entropy cross_entropy_backward nll",
    "loss_margin": "multi_margin multilabel_margin",
    "loss_pointwise": (
        "absolute_error absolute_error_backward binary_cross_entropy binary_cross_entropy_backward "
        "binary_cross_entropy_logits binary_cross_entropy_logits_backward gaussian hinge_embedding "
        "hinge_embedding_backward huber huber_backward kl_div kl_div_backward poisson poisson_backward smooth_l1 "
        "smooth_l1_backward soft_margin soft_margin_backward squared_error squared_error_backward"
    ),
    "norm": "batch_norm_backward batch_norm_eval batch_norm_train count_up move_statistics",
    "optim": (
        "adadelta_update adafactor_update adagrad_rows_update adagrad_update adam_rows_update adam_update adamax_update "
        "asgd_update muon_momentum muon_normalized muon_update nadam_update radam_update rmsprop_update "
        "rounded_to_bfloat16 rprop_update sgd_update"
    ),
    "orthogonal": "geqrf matrix_exp",
    "pad": "pad pad_backward",
    "piecewise": (
        "elu elu_backward hardshrink hardsigmoid hardsigmoid_backward hardswish hardswish_backward hardtanh "
        "hardtanh_backward leaky_relu leaky_relu_backward prelu prelu_backward relu relu_backward shrink_backward "
        "softshrink threshold threshold_backward"
    ),
    "pointwise": (
        "abs acos acosh add add_ angle asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor cast "
        "ceil clamp conj contiguous copysign cos cosh deg2rad div div_ eq exp exp2 expm1 floor floor_divide fmax fmin "
        "fmod gcd ge gt heaviside hypot isfinite isinf isnan isneginf isposinf lcm le left_shift lerp log log10 log1p "
        "log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor lt maximum minimum mul mul_ ne neg "
        "nextafter pow rad2deg reciprocal remainder right_shift round rsqrt sign signbit sin sinc sinh sqrt square sub "
        "sub_ tan trunc where xlogy"
    ),
    "polynomials": (
        "chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w "
        "hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p "
        "shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v "
        "shifted_chebyshev_polynomial_w"
    ),
    "pooling": (
        "adaptive_avg_pool adaptive_avg_pool_backward adaptive_max_pool avg_pool avg_pool_backward fractional_max_pool "
        "max_pool max_pool_backward max_pool_indices max_pool_select max_pool_taps plane_add plane_gather plane_put"
    ),
    "reduction": (
        "all amax amin any argmax argmin count_nonzero cummax cummin cumprod cumsum isclose logcumsumexp logsumexp mean "
        "pick place prod sum var_mean vector_norm"
    ),
    "resample": "resample resample_backward",
    "rnn": "rnn_layer rnn_layer_backward",
    "shape": "embed flip memory_order overlap_add reshape_copy roll tile tril triu",
    "shuffle": "channel_shuffle pixel_shuffle pixel_unshuffle",
    "sorting": "argsort isin kth_index median_index mode_index searchsorted sort topk unique unique_consecutive",
    "special": "entr erf erfc erfcx erfinv log_ndtr ndtr ndtri xlog1py",
    "statistics": "bincount histc histogram quantile_ranks",
}

# Their fast forms: lamina/engine/onednn/
FAST = {
    "attention": "attention attention_backward",
    "binary": "add div mul sub",
    "conv": "conv conv_arrange conv_backward_bias conv_backward_input conv_backward_weight",
    "conv_fused": "conv_fused",
    "copying": "cat channel_shuffle contiguous flip pixel_shuffle pixel_unshuffle reshape_copy roll tile tril triu",
    "elementary": "atan atan2 erf expm1 log1p sinh",
    "eltwise": (
        "abs gelu gelu_backward glu glu_backward leaky_relu leaky_relu_backward log_sigmoid log_sigmoid_backward mish "
        "mish_backward neg relu relu_backward sigmoid sigmoid_backward silu silu_backward softplus softplus_backward "
        "sqrt square tanh tanh_backward"
    ),
    "grid": "grid_correlate grid_sample grid_spread grid_taps grid_taps_backward",
    "layernorm": "group_norm group_norm_backward layer_norm layer_norm_backward rms_norm rms_norm_backward",
    "loss": "cross_entropy cross_entropy_backward",
    "loss_pointwise": (
        "absolute_error absolute_error_backward binary_cross_entropy_logits binary_cross_entropy_logits_backward huber "
        "huber_backward poisson poisson_backward smooth_l1 smooth_l1_backward soft_margin soft_margin_backward"
    ),
    "matmul": "linear matmul",
    "norm": "batch_norm_backward batch_norm_eval batch_norm_train",
    "optim": "adam_update sgd_update",
    "pad": "pad pad_backward",
    "parts": (
        "acos acosh asin asinh atanh cast ceil clamp copysign cos cosh eq exp exp2 floor floor_divide fmax fmin fmod ge "
        "gt hypot isfinite isinf isnan le lerp log log10 log2 logaddexp lt masked_fill maximum minimum ne pow "
        "reciprocal remainder round rsqrt sign signbit sin tan trunc where"
    ),
    "piecewise": (
        "elu elu_backward hardshrink hardsigmoid hardsigmoid_backward hardswish hardswish_backward hardtanh "
        "hardtanh_backward prelu prelu_backward shrink_backward softshrink threshold threshold_backward"
    ),
    "planes": "fractional_max_pool plane_add plane_gather plane_put",
    "pooling": "avg_pool avg_pool_backward max_pool max_pool_backward max_pool_taps",
    "resample": "resample resample_backward",
    "rnn": "rnn_layer rnn_layer_backward",
    "slices": "all amax amin any argmax argmin argsort kth_index logsumexp median_index prod sort var_mean",
    "softmax": "log_softmax log_softmax_backward softmax softmax_backward",
}

# Functions of lamina: lamina/ops/
FUNCTIONS = {
    "activation": "log_softmax sigmoid sigmoid_ softmax tanh tanh_",
    "complex": "complex imag polar real resolve_conj resolve_neg view_as_complex view_as_real",
    "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    "conv_tbc": "conv_tbc",
    "copies": (
        "addmv_ alias_copy as_strided_ as_strided_copy as_strided_scatter detach_copy diagonal_copy empty_permuted "
        "expand_copy permute_copy resize_as_ select_copy slice_copy split_copy split_with_sizes_copy squeeze_copy "
        "t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy view_as_complex_copy view_as_real_copy view_copy"
    ),
    "counts": "_standard_gamma binomial poisson",
    "creation": (
        "arange as_tensor asarray empty empty_like empty_strided eye from_dlpack from_numpy frombuffer full full_like "
        "is_tensor linspace logspace ones ones_like range scalar_tensor tensor zeros zeros_like"
    ),
    "decomposition": "cholesky det inverse logdet pinverse qr slogdet svd",
    "distance": "bilinear cosine_similarity pairwise_distance pdist",
    "dropout": (
        "alpha_dropout alpha_dropout_ dropout dropout_ feature_alpha_dropout feature_alpha_dropout_ feature_dropout "
        "feature_dropout_ native_dropout"
    ),
    "einsum": "einsum",
    "elementary": (
        "angle copysign float_power gcd gcd_ heaviside hypot isneginf isposinf isreal lcm lcm_ ldexp ldexp_ lerp "
        "logaddexp logaddexp2 nextafter sinc sinc_ xlogy xlogy_"
    ),
    "extremes": "all allclose amax amin aminmax any argmax argmin count_nonzero equal isclose max min",
    "factorization": (
        "cholesky_inverse cholesky_solve eig frobenius_norm lstsq lu lu_solve lu_unpack matrix_rank norm_except_dim "
        "nuclear_norm ormqr pca_lowrank solve svd_lowrank symeig triangular_solve vander"
    ),
    "foreach": (
        "_foreach_abs _foreach_abs_ _foreach_acos _foreach_acos_ _foreach_add _foreach_add_ _foreach_addcdiv "
        "_foreach_addcdiv_ _foreach_addcmul _foreach_addcmul_ _foreach_asin _foreach_asin_ _foreach_atan _foreach_atan_ "
        "_foreach_ceil _foreach_ceil_ _foreach_clamp_max _foreach_clamp_max_ _foreach_clamp_min _foreach_clamp_min_ "
        "_foreach_clone _foreach_copy_ _foreach_cos _foreach_cos_ _foreach_cosh _foreach_cosh_ _foreach_div "
        "_foreach_div_ _foreach_erf _foreach_erf_ _foreach_erfc _foreach_erfc_ _foreach_exp _foreach_exp_ "
        "_foreach_expm1 _foreach_expm1_ _foreach_floor _foreach_floor_ _foreach_frac _foreach_frac_ _foreach_lerp "
        "_foreach_lerp_ _foreach_lgamma _foreach_lgamma_ _foreach_log _foreach_log10 _foreach_log10_ _foreach_log1p "
        "_foreach_log1p_ _foreach_log2 _foreach_log2_ _foreach_log_ _foreach_max _foreach_maximum _foreach_maximum_ "
        "_foreach_minimum _foreach_minimum_ _foreach_mul _foreach_mul_ _foreach_neg _foreach_neg_ _foreach_norm "
        "_foreach_pow _foreach_pow_ _foreach_reciprocal _foreach_reciprocal_ _foreach_round _foreach_round_ "
        "_foreach_rsqrt _foreach_rsqrt_ _foreach_sigmoid _foreach_sigmoid_ _foreach_sign _foreach_sign_ _foreach_sin "
        "_foreach_sin_ _foreach_sinh _foreach_sinh_ _foreach_sqrt _foreach_sqrt_ _foreach_sub _foreach_sub_ "
        "_foreach_tan _foreach_tan_ _foreach_tanh _foreach_tanh_ _foreach_trunc _foreach_trunc_ _foreach_zero_"
    ),
    "gathering": (
        "gather index_add index_copy index_fill index_reduce index_select scatter scatter_add scatter_reduce "
        "take_along_dim"
    ),
    "grid": "affine_grid_generator grid_sampler",
    "indexing": "fill fill_ index_put index_put_ put take zero_",
    "join": (
        "block_diag cat chunk column_stack concat concatenate dsplit dstack hsplit hstack row_stack split "
        "split_with_sizes stack tensor_split unbind unsafe_chunk unsafe_split unsafe_split_with_sizes vsplit vstack"
    ),
    "kinds": (
        "detach detach_ get_device is_complex is_conj is_floating_point is_inference is_neg is_nonzero is_same_size "
        "is_signed numel"
    ),
    "layernorm": "batch_norm group_norm instance_norm layer_norm rms_norm",
    "layout": "as_strided",
    "linalg": "addbmm addmm addmv addr baddbmm bmm dot ger matmul mm mv outer vdot",
    "masking": (
        "argwhere diagonal_scatter masked_fill masked_scatter masked_select nonzero select_scatter slice_scatter"
    ),
    "numeric": (
        "conj_physical conj_physical_ corrcoef cov frexp gradient histogramdd nonzero_static renorm segment_reduce"
    ),
    "operands": "result_type",
    "orthogonal": "geqrf matrix_exp orgqr",
    "parts": (
        "atleast_1d atleast_2d atleast_3d cartesian_prod combinations diag diag_embed diagflat diagonal flip fliplr "
        "flipud meshgrid narrow narrow_copy repeat_interleave roll rot90 select tile tril tril_indices triu "
        "triu_indices unravel_index"
    ),
    "piecewise": "celu celu_ hardshrink prelu relu relu_ rrelu rrelu_ selu selu_ threshold threshold_",
    "pointwise": (
        "add addcdiv addcmul arctan2 atan2 bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip clip_ clone div divide eq floor_divide "
        "fmax fmin fmod ge greater greater_equal gt isfinite isinf isnan le less less_equal logical_and logical_not "
        "logical_or logical_xor logit logit_ lt maximum minimum mul multiply nan_to_num nan_to_num_ ne not_equal pow "
        "remainder rsub signbit sub subtract true_divide where"
    ),
    "pooling": (
        "adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d max_pool1d max_pool1d_with_indices max_pool2d max_pool3d"
    ),
    "products": "cdist chain_matmul cross inner kron matrix_power tensordot trace",
    "random": (
        "bernoulli get_rng_state initial_seed manual_seed multinomial normal rand rand_like randint randint_like randn "
        "randn_like randperm seed set_rng_state"
    ),
    "reduction": "dist logsumexp mean nanmean nansum norm prod std std_mean sum var var_mean",
    "rnn": "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
    "scan": "cummax cummin cumprod cumsum cumulative_trapezoid diff logcumsumexp trapezoid trapz",
    "shape": (
        "adjoint broadcast_shapes broadcast_tensors broadcast_to flatten moveaxis movedim permute ravel reshape squeeze "
        "swapaxes swapdims t transpose unflatten unsqueeze"
    ),
    "shuffle": "channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle",
    "sorting": (
        "argsort bucketize isin kthvalue median mode msort nanmedian searchsorted sort topk unique unique_consecutive"
    ),
    "special": "digamma i0 i0_ igamma igammac lgamma mvlgamma polygamma",
    "spectral": "bartlett_window blackman_window hamming_window hann_window istft kaiser_window stft",
    "statistics": "bincount histc histogram nanquantile quantile",
    "torch_names": (
        "_assert binary_cross_entropy_with_logits constant_pad_nd convolution cosine_embedding_loss ctc_loss "
        "embedding_bag embedding_renorm_ grid_sampler_2d grid_sampler_3d hinge_embedding_loss kl_div "
        "margin_ranking_loss native_batch_norm native_group_norm native_layer_norm poisson_nll_loss triplet_margin_loss"
    ),
    "unary": (
        "abs abs_ absolute acos acos_ acosh acosh_ arccos arccos_ arccosh arccosh_ arcsin arcsin_ arcsinh arcsinh_ "
        "arctan arctan_ arctanh arctanh_ asin asin_ asinh asinh_ atan atan_ atanh atanh_ ceil ceil_ conj cos cos_ cosh "
        "cosh_ deg2rad deg2rad_ erf erf_ erfc erfc_ erfinv exp exp2 exp2_ exp_ expm1 expm1_ fix fix_ floor floor_ frac "
        "frac_ log log10 log10_ log1p log1p_ log2 log2_ log_ neg neg_ negative negative_ positive rad2deg rad2deg_ "
        "reciprocal reciprocal_ round round_ rsqrt rsqrt_ sgn sign sin sin_ sinh sinh_ sqrt sqrt_ square square_ tan "
        "tan_ trunc trunc_"
    ),
}

# Those that are methods of a tensor
METHODS = {
    "activation": "log_softmax sigmoid softmax tanh",
    "complex": "resolve_conj resolve_neg",
    "copies": "as_strided_scatter",
    "creation": "new_empty new_empty_strided new_full new_ones new_tensor new_zeros",
    "decomposition": "cholesky det inverse logdet pinverse qr slogdet svd",
    "elementary": (
        "angle copysign float_power gcd heaviside hypot isneginf isposinf isreal lcm ldexp lerp logaddexp logaddexp2 "
        "nextafter sinc xlogy"
    ),
    "extremes": "all allclose amax amin aminmax any argmax argmin count_nonzero equal isclose max min",
    "factorization": "cholesky_inverse cholesky_solve eig lstsq lu lu_solve ormqr solve symeig triangular_solve",
    "gathering": (
        "gather index_add index_add_ index_copy index_fill index_fill_ index_reduce index_select scatter scatter_ "
        "scatter_add scatter_add_ scatter_reduce take_along_dim"
    ),
    "indexing": "copy_ fill_ index_put index_put_ put take zero_",
    "join": (
        "chunk dsplit hsplit split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split "
        "unsafe_split_with_sizes vsplit"
    ),
    "kinds": (
        "_dimI _dimV _indices _nnz _values ccol_indices coalesce col_indices crow_indices dense_dim indices "
        "is_coalesced is_conj is_neg is_nonzero is_same_size row_indices sparse_dim values"
    ),
    "layout": (
        "as_strided as_strided_ contiguous is_contiguous resize_ resize_as_ squeeze_ storage_offset stride swapaxes_ "
        "swapdims_ t_ transpose_ unsqueeze_"
    ),
    "linalg": "addbmm addmm addmv addr baddbmm bmm dot ger matmul mm mv outer vdot",
    "masking": (
        "argwhere diagonal_scatter fill_diagonal_ masked_fill masked_fill_ masked_scatter masked_select nonzero "
        "select_scatter slice_scatter where"
    ),
    "numeric": "conj_physical corrcoef cov frexp nonzero_static renorm",
    "orthogonal": "geqrf matrix_exp orgqr",
    "parts": (
        "diag diag_embed diagflat diagonal flip fliplr flipud narrow narrow_copy repeat repeat_interleave roll rot90 "
        "select tile tril triu unfold"
    ),
    "piecewise": "hardshrink prelu relu relu_",
    "pointwise": (
        "add addcdiv addcmul arctan2 atan2 bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor clamp clamp_max clamp_min clip clone div divide eq floor_divide fmax fmin fmod ge greater "
        "greater_equal gt isfinite isinf isnan le less less_equal logical_and logical_not logical_or logical_xor logit "
        "lt maximum minimum mul multiply nan_to_num ne not_equal pow remainder signbit sub subtract true_divide"
    ),
    "products": "cross inner kron matrix_power trace",
    "random": "bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_ uniform_",
    "reduction": "dist logsumexp mean nanmean nansum norm prod std sum var",
    "scan": "cummax cummin cumprod cumsum diff logcumsumexp",
    "shape": (
        "adjoint broadcast_to expand expand_as flatten moveaxis movedim permute ravel reshape reshape_as squeeze "
        "sum_to_size swapaxes swapdims t transpose unflatten unsqueeze view view_as"
    ),
    "sorting": "argsort kthvalue median mode msort nanmedian sort topk unique unique_consecutive",
    "special": "digamma i0 igamma igammac lgamma mvlgamma polygamma",
    "spectral": "istft stft",
    "statistics": "bincount histc histogram nanquantile quantile",
    "unary": (
        "abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil conj cos cosh "
        "deg2rad erf erfc erfinv exp exp2 expm1 fix floor frac log log10 log1p log2 neg negative positive rad2deg "
        "reciprocal round rsqrt sgn sign sin sinh sqrt square tan trunc"
    ),
}

# ... and have a form name_
INPLACE = {
    "activation": "sigmoid tanh",
    "elementary": "copysign float_power gcd heaviside hypot lcm ldexp lerp nextafter sinc xlogy",
    "gathering": "index_copy index_reduce scatter_reduce",
    "indexing": "put",
    "linalg": "addbmm addmm addmv addr baddbmm",
    "masking": "masked_scatter",
    "numeric": "conj_physical renorm",
    "parts": "tril triu",
    "pointwise": (
        "add addcdiv addcmul arctan2 atan2 bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor clamp clamp_max clamp_min clip div divide eq floor_divide fmod ge greater greater_equal gt le less "
        "less_equal logical_and logical_not logical_or logical_xor logit lt mul multiply nan_to_num ne not_equal pow "
        "remainder sub subtract true_divide"
    ),
    "scan": "cumprod cumsum",
    "special": "digamma i0 igamma igammac lgamma mvlgamma polygamma",
    "unary": (
        "abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil cos cosh "
        "deg2rad erf erfc erfinv exp exp2 expm1 fix floor frac log log10 log1p log2 neg negative rad2deg reciprocal "
        "round rsqrt sgn sign sin sinh sqrt square tan trunc"
    ),
}

# Functions of lamina.nn.functional
NN_FUNCTIONS = {
    "activation": (
        "gelu glu gumbel_softmax log_softmax logsigmoid mish sigmoid silu softmax softmin softplus softsign tanh "
        "tanhshrink"
    ),
    "attention": "scaled_dot_product_attention",
    "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    "conv_tbc": "conv_tbc",
    "distance": "bilinear cosine_similarity normalize pairwise_distance pdist",
    "dropout": "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout",
    "embedding": "embedding embedding_bag",
    "fold": "fold unfold",
    "gathering": "one_hot",
    "grid": "affine_grid grid_sample",
    "grouped": "ScalingType SwizzleType grouped_mm scaled_grouped_mm scaled_mm",
    "layernorm": "group_norm instance_norm layer_norm local_response_norm rms_norm",
    "linalg": "linear",
    "loss": "cross_entropy nll_loss",
    "loss_binary": "binary_cross_entropy binary_cross_entropy_with_logits multilabel_soft_margin_loss soft_margin_loss",
    "loss_ctc": "ctc_loss",
    "loss_linear": "linear_cross_entropy",
    "loss_margin": (
        "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
        "triplet_margin_loss triplet_margin_with_distance_loss"
    ),
    "loss_pointwise": "gaussian_nll_loss huber_loss kl_div l1_loss mse_loss poisson_nll_loss smooth_l1_loss",
    "multihead": "multi_head_attention_forward",
    "norm": "batch_norm",
    "pad": "pad",
    "piecewise": (
        "celu celu_ elu elu_ hardshrink hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ prelu relu "
        "relu6 relu_ rrelu rrelu_ selu selu_ softshrink threshold threshold_"
    ),
    "pooling": (
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
        "adaptive_max_pool1d_with_indices adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d "
        "adaptive_max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d fractional_max_pool2d "
        "fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices lp_pool1d "
        "lp_pool2d lp_pool3d max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d "
        "max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d"
    ),
    "resample": "interpolate upsample upsample_bilinear upsample_nearest",
    "shuffle": "channel_shuffle native_channel_shuffle pixel_shuffle pixel_unshuffle",
}

# Names of packages that are imported when they are asked for: package → module → names
LATER = {
    "lamina": {
        "lamina": "amp compiler cpu fft func linalg optim serialization signal special storage",
        "lamina._config": "get_num_threads set_num_threads show_config",
        "lamina._formatting": "set_printoptions",
        "lamina._sparse": "sparse_coo_tensor",
        "lamina._typed": (
            "BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor "
            "ShortTensor"
        ),
        "lamina._vmap": "vmap",
        "lamina.amp.autocast_mode": (
            "autocast clear_autocast_cache get_autocast_cpu_dtype get_autocast_dtype get_autocast_gpu_dtype "
            "is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled set_autocast_cache_enabled "
            "set_autocast_dtype"
        ),
        "lamina.autograd.anomaly": "is_anomaly_check_nan_enabled is_anomaly_enabled set_anomaly_enabled",
        "lamina.compiler": "compile",
        "lamina.futures": "Future",
        "lamina.ops.torch_names": "_assert embedding",
        "lamina.serialization": "load save",
        "lamina.storage": "TypedStorage UntypedStorage",
        "lamina.utils._objects": "typename",
        "lamina.utils._summary": "summary",
    },
    "lamina.autograd": {
        "lamina.autograd": "anomaly function functional profiler variable",
        "lamina.autograd.anomaly": "detect_anomaly set_detect_anomaly",
        "lamina.autograd.function": "Function FunctionCtx once_differentiable",
        "lamina.autograd.variable": "Variable",
    },
    "lamina.nn": {
        "lamina.nn": "attention init parallel quantized utils",
        "lamina.nn.modules.activation": (
            "GELU GLU LogSigmoid LogSoftmax Mish SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softsign Tanh Tanhshrink"
        ),
        "lamina.nn.modules.adaptive": "AdaptiveLogSoftmaxWithLoss",
        "lamina.nn.modules.attention": "MultiheadAttention",
        "lamina.nn.modules.batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
        "lamina.nn.modules.container": "Container ModuleDict ModuleList ParameterDict ParameterList Sequential",
        "lamina.nn.modules.conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
        "lamina.nn.modules.distance": "CosineSimilarity PairwiseDistance",
        "lamina.nn.modules.dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
        "lamina.nn.modules.flatten": "Flatten Unflatten",
        "lamina.nn.modules.fold": "Fold Unfold",
        "lamina.nn.modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
        "lamina.nn.modules.lazy": (
            "LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d "
            "LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear"
        ),
        "lamina.nn.modules.linear": "Bilinear Identity Linear",
        "lamina.nn.modules.loss": (
            "CTCLoss CrossEntropyLoss LinearCrossEntropyLoss LinearCrossEntropyOptions NLLLoss NLLLoss2d"
        ),
        "lamina.nn.modules.loss_margin": (
            "CosineEmbeddingLoss HingeEmbeddingLoss MarginRankingLoss MultiLabelMarginLoss MultiMarginLoss "
            "TripletMarginLoss TripletMarginWithDistanceLoss"
        ),
        "lamina.nn.modules.loss_pointwise": (
            "BCELoss BCEWithLogitsLoss GaussianNLLLoss HuberLoss KLDivLoss L1Loss MSELoss MultiLabelSoftMarginLoss "
            "PoissonNLLLoss SmoothL1Loss SoftMarginLoss"
        ),
        "lamina.nn.modules.module": "Module",
        "lamina.nn.modules.normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
        "lamina.nn.modules.padding": (
            "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d "
            "ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d "
            "ZeroPad3d"
        ),
        "lamina.nn.modules.piecewise": (
            "CELU ELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU PReLU RReLU ReLU ReLU6 SELU Softshrink Threshold"
        ),
        "lamina.nn.modules.pooling": (
            "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
            "AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d "
            "MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d"
        ),
        "lamina.nn.modules.rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
        "lamina.nn.modules.shuffle": "ChannelShuffle PixelShuffle PixelUnshuffle",
        "lamina.nn.modules.sparse": "Embedding EmbeddingBag",
        "lamina.nn.modules.transformer": (
            "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer"
        ),
        "lamina.nn.modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
        "lamina.nn.parallel": "DataParallel",
    },
    "lamina.nn.modules": {
        "lamina.nn.modules": (
            "activation adaptive attention batchnorm container conv distance dropout flatten fold instancenorm lazy linear "
            "loss loss_margin loss_pointwise module normalization padding piecewise pooling rnn shuffle sparse transformer "
            "upsampling utils"
        ),
        "lamina.nn.modules.activation": (
            "GELU GLU LogSigmoid LogSoftmax Mish SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softsign Tanh Tanhshrink"
        ),
        "lamina.nn.modules.adaptive": "AdaptiveLogSoftmaxWithLoss",
        "lamina.nn.modules.attention": "MultiheadAttention",
        "lamina.nn.modules.batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
        "lamina.nn.modules.container": "Container ModuleDict ModuleList ParameterDict ParameterList Sequential",
        "lamina.nn.modules.conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
        "lamina.nn.modules.distance": "CosineSimilarity PairwiseDistance",
        "lamina.nn.modules.dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
        "lamina.nn.modules.flatten": "Flatten Unflatten",
        "lamina.nn.modules.fold": "Fold Unfold",
        "lamina.nn.modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
        "lamina.nn.modules.lazy": (
            "LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d "
            "LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear"
        ),
        "lamina.nn.modules.linear": "Bilinear Identity Linear",
        "lamina.nn.modules.loss": (
            "CTCLoss CrossEntropyLoss LinearCrossEntropyLoss LinearCrossEntropyOptions NLLLoss NLLLoss2d"
        ),
        "lamina.nn.modules.loss_margin": (
            "CosineEmbeddingLoss HingeEmbeddingLoss MarginRankingLoss MultiLabelMarginLoss MultiMarginLoss "
            "TripletMarginLoss TripletMarginWithDistanceLoss"
        ),
        "lamina.nn.modules.loss_pointwise": (
            "BCELoss BCEWithLogitsLoss GaussianNLLLoss HuberLoss KLDivLoss L1Loss MSELoss MultiLabelSoftMarginLoss "
            "PoissonNLLLoss SmoothL1Loss SoftMarginLoss"
        ),
        "lamina.nn.modules.module": "Module",
        "lamina.nn.modules.normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
        "lamina.nn.modules.padding": (
            "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d "
            "ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d "
            "ZeroPad3d"
        ),
        "lamina.nn.modules.piecewise": (
            "CELU ELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU PReLU RReLU ReLU ReLU6 SELU Softshrink Threshold"
        ),
        "lamina.nn.modules.pooling": (
            "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
            "AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d "
            "MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d"
        ),
        "lamina.nn.modules.rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
        "lamina.nn.modules.shuffle": "ChannelShuffle PixelShuffle PixelUnshuffle",
        "lamina.nn.modules.sparse": "Embedding EmbeddingBag",
        "lamina.nn.modules.transformer": (
            "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer"
        ),
        "lamina.nn.modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    },
    "lamina.optim": {
        "lamina.optim": (
            "adadelta adagrad adam adamax adamw asgd lbfgs lr_scheduler nadam optimizer radam rmsprop rprop sgd sparse_adam "
            "swa_utils"
        ),
        "lamina.optim._adafactor": "Adafactor",
        "lamina.optim._muon": "Muon",
        "lamina.optim._stateless": "swap_in_optimizer_params_and_state",
        "lamina.optim.adadelta": "Adadelta",
        "lamina.optim.adagrad": "Adagrad",
        "lamina.optim.adam": "Adam",
        "lamina.optim.adamax": "Adamax",
        "lamina.optim.adamw": "AdamW",
        "lamina.optim.asgd": "ASGD",
        "lamina.optim.lbfgs": "LBFGS",
        "lamina.optim.nadam": "NAdam",
        "lamina.optim.optimizer": "Optimizer",
        "lamina.optim.radam": "RAdam",
        "lamina.optim.rmsprop": "RMSprop",
        "lamina.optim.rprop": "Rprop",
        "lamina.optim.sgd": "SGD",
        "lamina.optim.sparse_adam": "SparseAdam",
    },
}

"""Readers of model formats without I/O: bytes in, facts out.

safetensors    the header, with tensor_layout (the places of tensors)
torchfile      pickles in torch files, with zipdir, pickles (what they import) and statedict (their tensors)
gguf           the header
index          which tensor is in which shard
hfconfig       config.json; mistral: params.json; quantization: how weights are quantized
weights        which files vLLM would load; required: which files a model must have
vllm           what the supported vLLM release can load, from vllm.json
ranges         how a reader asks for ranges of a file
tensors        what is known of a tensor
unreadable     the error of all readers
"""

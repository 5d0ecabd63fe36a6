"""python caller.py model.onnx photo.jpg"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
labels = json.loads(session.get_modelmeta().custom_metadata_map["modelport.labels"])
pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB"))
index, score = session.run(["index", "score"], {"image": pixels})
print(labels[index[0]], f"{score[0]:.3f}")

"""Feature distillation: the student's feature maps follow the teacher's."""
